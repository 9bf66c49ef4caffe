"""Answers that no HTTP library sends: endless slow headers, bodies whose end looks like a cut."""

import random
from collections.abc import Iterable
from itertools import chain, repeat

import pytest

from openmedq.errors import AcquisitionError, TemporaryError
from openmedq.fetch import checks
from tests.fetch.conftest import HOST, Fetch, make_files, make_set, read_all
from tests.servers.raw import answer_with, serve_raw, start_of

A, B = (random.Random(seed).randbytes(300_000) for seed in range(2))
NAME = "a.bin"
FILES = make_files({NAME: b""})

DRIPS = {
    "a header": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"),
    "a chunk's extension": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"e"),
    "the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"a"),
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_drip_of_what_is_no_progress_is_left(fetch: Fetch, name: str) -> None:
    first, drop = DRIPS[name]
    with (
        serve_raw(HOST, lambda head, number: chain([first], repeat(drop, 200)), pause_s=0.04) as server,
        pytest.raises(TemporaryError, match=r"no answer in time|sends almost nothing"),
    ):
        fetch(server, make_set(FILES), attempts=1, timeout_s=0.2)


MONDAY, TUESDAY = "Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize(
    ("begun", "then", "num_times"),
    [
        ({"Last_Modified": MONDAY}, {"Last_Modified": TUESDAY}, 1),
        ({"Last_Modified": MONDAY, "ETag": 'W/"a"'}, {"Last_Modified": MONDAY, "ETag": 'W/"b"'}, 1),
        ({"Last_Modified": MONDAY, "ETag": '"a"'}, {"Last_Modified": TUESDAY}, 1),
        ({"ETag": '"a"'}, {}, 2),
        ({"ETag": '"a"'}, {"ETag": 'W/"a"'}, 1),
    ],
)
def test_parts_of_two_versions_are_not_joined(
    fetch: Fetch, begun: dict[str, str], then: dict[str, str], num_times: int
) -> None:
    """The server ignores If-Range, and the file has no known hash."""
    data = B * num_times

    def answer(head: str, number: int) -> Iterable[bytes]:
        if number == 0:
            return [answer_with(A[:150_000], Content_Length=len(A), **begun)]
        start = start_of(head)
        message = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        return [answer_with(data[start:], "206 Partial Content" if start else "200 OK", **message, **then)]

    with serve_raw(HOST, answer) as server:
        assert read_all(fetch(server, make_set(FILES))) == {NAME: data}
        assert [start_of(head) > 0 for head in server.heads] == [False, True, False]


def test_a_part_without_validators_is_of_the_version_that_was_asked_for(fetch: Fetch) -> None:
    def answer(head: str, number: int) -> Iterable[bytes]:
        if number == 0:
            return [answer_with(A[:150_000], Content_Length=len(A), ETag='"a"', Last_Modified=MONDAY)]
        assert 'If-Range: "a"' in head
        start = start_of(head)
        return [answer_with(A[start:], "206 Partial Content", Content_Range=f"bytes {start}-{len(A) - 1}/{len(A)}")]

    with serve_raw(HOST, answer) as server:
        assert read_all(fetch(server, make_set(FILES))) == {NAME: A}
        assert len(server.heads) == 2


PAGES = {
    "a mark of its encoding": b"\xef\xbb\xbf<!DOCTYPE html><html>",
    "XHTML": b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">',
    "comments": b"<!-- saved -->\n<!-- twice --><html><body>login",
    "UTF-16": "\ufeff<html><body>".encode("utf-16"),
    "two lines before it": b"\r\n\r\n<!doctype  html>",
}


@pytest.mark.parametrize("piece_bytes", [1, 1000])
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_page_is_no_file_however_it_begins_and_comes(fetch: Fetch, page: bytes, piece_bytes: int) -> None:
    pieces = [page[at : at + piece_bytes] for at in range(0, len(page), piece_bytes)]
    answer = [answer_with(b"", Content_Length=len(page)), *pieces]
    with (
        serve_raw(HOST, lambda head, number: answer, pause_s=0.002) as server,
        pytest.raises(AcquisitionError, match="sends an HTML page, not the published file"),
    ):
        fetch(server, make_set(FILES))


@pytest.mark.parametrize("kind", ["text/html", "Text/HTML; charset=utf-8", "application/xhtml+xml"])
def test_what_is_called_a_page_is_one_unless_its_hash_is_known(fetch: Fetch, kind: str) -> None:
    files = {"a.csv": b"id\n1\n"}
    with serve_raw(HOST, lambda head, number: [answer_with(files["a.csv"], Content_Type=kind)]) as server:
        with pytest.raises(AcquisitionError, match="sends an HTML page, not the published file"):
            fetch(server, make_set(make_files(files)))
        assert read_all(fetch(server, make_set(make_files(files, is_pinned=True)))) == files


@pytest.mark.parametrize("start", [b"<?xml version='1.0'?><eCitation>", b"<htmlish", b"a <html>", b"<!-- only", b""])
def test_what_only_looks_like_a_page_is_a_file(start: bytes) -> None:
    checks.check_start(FILES[0], "application/octet-stream", start)
