"""One file and each fault: the expected bytes or an error, never a part of a file."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from openmedq.errors import AcquisitionError, ChecksumError, TemporaryError
from openmedq.fetch import needs
from tests.fetch.conftest import HOST, URL, Fetch, make_files, make_set, read_all
from tests.servers import faults, serve
from tests.servers.exchange import Content, Reply, Request

MAGIC = b"\x1f\x8b"
DATA = MAGIC + random.Random(0).randbytes(2_999_998)
OTHER = MAGIC + DATA[:1:-1]
NAME = "a/pictures.tgz"
PLACE = f"{HOST}/imgs/{NAME}"
TARGET = Path("data/raw/toy_set/files") / NAME
PARTIAL = Path("data/raw/toy_set") / needs.PARTIAL / NAME

FILES = make_files({NAME: DATA})
PINNED = make_files({NAME: DATA}, is_pinned=True)
SITE = {f"{URL}{NAME}": DATA}


def test_a_cut_file_resumes(fetch: Fetch) -> None:
    at = random.Random(0).randrange(1, len(DATA))
    with serve(SITE, [faults.cut(at).on(PLACE, times=1)]) as server:
        assert read_all(fetch(server, make_set(FILES))) == {NAME: DATA}
        first, second = server.asked(PLACE)
    assert "Range" not in first.headers
    assert 0 < int(second.headers["Range"].removeprefix("bytes=").removesuffix("-")) <= at
    assert second.status == 206
    assert second.headers["If-Range"]


def test_a_file_of_known_hash_resumes_without_a_validator(fetch: Fetch) -> None:
    with serve(SITE, [faults.cut(1_000_000).on(PLACE, times=1), faults.state()]) as server:
        assert read_all(fetch(server, make_set(PINNED))) == {NAME: DATA}
        assert [request.status for request in server.asked(PLACE)] == [200, 206]
    Path("data").rename("begun")
    PARTIAL.parent.mkdir(parents=True)
    PARTIAL.write_bytes(OTHER[:1000])
    PARTIAL.with_name(f"{PARTIAL.name}.tag").write_text('["a", 3000000]')  # of an earlier version
    with serve(SITE) as server:
        with pytest.raises(ChecksumError, match="it is deleted"):
            fetch(server, make_set(PINNED))
        assert read_all(fetch(server, make_set(PINNED))) == {NAME: DATA}


def test_after_cuts_partial_data_is_kept(fetch: Fetch) -> None:
    with serve(SITE, [faults.cut(1000).on(PLACE)]) as server:
        with pytest.raises(
            TemporaryError, match=rf"^{NAME}: {URL}{NAME}: the connection was cut .*partial data is kept"
        ):
            fetch(server, make_set(FILES), attempts=2)
        assert 0 < PARTIAL.stat().st_size <= 2000
        assert not TARGET.exists()
        server.faults.clear()
        assert read_all(fetch(server, make_set(FILES))) == {NAME: DATA}


def test_a_complete_part_is_not_requested_again(fetch: Fetch) -> None:
    PARTIAL.parent.mkdir(parents=True)
    PARTIAL.write_bytes(DATA)
    with serve(SITE) as server:
        PARTIAL.with_name(f"{PARTIAL.name}.tag").write_text(f'"{Content(DATA).md5}"')
        assert read_all(fetch(server, make_set(FILES))) == {NAME: DATA}
        assert [request.num_bytes for request in server.requests] == [0]


def test_a_server_without_ranges_sends_all_again(fetch: Fetch) -> None:
    with serve(SITE, [faults.cut(500_000).on(PLACE, times=1), faults.ignore("Range")]) as server:
        assert read_all(fetch(server, make_set(PINNED))) == {NAME: DATA}
        assert [request.status for request in server.asked(PLACE)] == [200, 200]


MONDAY, TUESDAY = "Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize(
    ("begun", "then", "other"),
    [
        ({"Last_Modified": MONDAY}, {"Last_Modified": TUESDAY}, OTHER),
        ({"Last_Modified": MONDAY, "ETag": '"a"'}, {"Last_Modified": TUESDAY}, OTHER),
        ({"ETag": '"a"'}, {}, OTHER * 2),
        ({"Last_Modified": MONDAY, "ETag": 'W/"a"'}, {"Last_Modified": TUESDAY, "ETag": 'W/"a"'}, OTHER),
    ],
)
def test_parts_of_two_versions_are_not_joined(
    fetch: Fetch, begun: dict[str, str], then: dict[str, str], other: bytes
) -> None:
    """The server ignores If-Range, and the file has no known hash."""
    first = [faults.cut(500_000).on(PLACE, times=1), faults.state(**begun).on(PLACE, times=1)]
    later = [faults.change(other).on(PLACE, first=2), faults.state(**then).on(PLACE, first=2)]
    with serve(SITE, [*first, faults.ignore("If-Range"), *later]) as server:
        assert read_all(fetch(server, make_set(FILES))) == {NAME: other}
        assert [bool(request.headers["Range"]) for request in server.asked(PLACE)] == [False, True, False]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_temporary_status_is_retried(fetch: Fetch, code: int) -> None:
    with serve(SITE, [faults.status(code).on(PLACE, times=5)]) as server:
        assert read_all(fetch(server, make_set(FILES), attempts=6)) == {NAME: DATA}
        server.faults[:] = [faults.status(code).on(PLACE)]
        TARGET.unlink()
        with pytest.raises(TemporaryError, match=rf"openi\.nlm\.nih\.gov answers {code} [A-Z]\w.*\(attempt 5\)"):
            fetch(server, make_set(FILES), attempts=5)


def test_a_long_wait_is_given_up(fetch: Fetch) -> None:
    with serve(SITE, [faults.status(503, retry_after=7200).on(PLACE)]) as server:
        with pytest.raises(TemporaryError, match=r"asks to wait 7200 s"):
            fetch(server, make_set(FILES))
        assert len(server.asked(PLACE)) == 1


def test_wrong_bytes_are_refused_and_not_kept(fetch: Fetch) -> None:
    with serve(SITE, [faults.corrupt(7).on(PLACE, times=1)]) as server:
        with pytest.raises(
            ChecksumError, match=rf"^{NAME}: {URL}{NAME} has sha256 \w+, expected \w+; it is deleted; run the command"
        ):
            fetch(server, make_set(PINNED))
        assert not TARGET.exists()
        assert not PARTIAL.exists()
        assert read_all(fetch(server, make_set(PINNED))) == {NAME: DATA}


def test_a_size_is_held_to_what_is_known_of_it(fetch: Fetch) -> None:
    """A valid gzip of 130 bytes once stood for 352 MB."""
    about = (FILES[0].model_copy(update={"about_bytes": 3_100_000}),)
    exact = (FILES[0].model_copy(update={"size_bytes": len(DATA)}),)
    with serve(SITE, [faults.shorten(130).on(PLACE)]) as server:
        for files, expected in ((about, "1550000 to 6200000"), (exact, "3000000")):
            with pytest.raises(AcquisitionError, match=rf"has 130 bytes, expected {expected}; it is not"):
                fetch(server, make_set(files))
        server.faults.clear()
        assert read_all(fetch(server, make_set(about))) == {NAME: DATA}
    too_long = (FILES[0].model_copy(update={"about_bytes": 1_000_000, "path": "b"}),)
    with (
        serve(SITE) as server,
        pytest.raises(AcquisitionError, match=r"has 3000000 bytes, expected 500000 to 2000000"),
    ):
        fetch(server, make_set(too_long))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (faults.html(), "sends an HTML page, not the published file"),
        (faults.html(is_disguised=True), "sends an HTML page, not the published file"),
        (faults.challenge(), "answers 202"),
        (faults.change(b""), "is an empty file"),
        (faults.not_found(), r"openi\.nlm\.nih\.gov answers 404 Not Found"),
    ],
)
def test_what_is_not_the_file_is_reported_at_once(fetch: Fetch, fault: faults.Fault, message: str) -> None:
    with serve(SITE, [fault.on(PLACE)]) as server:
        with pytest.raises(AcquisitionError, match=message):
            fetch(server, make_set(FILES))
        assert len(server.asked(PLACE)) == 1
    assert not TARGET.exists()


def test_a_stalled_server_is_left_and_asked_again(fetch: Fetch) -> None:
    with serve(SITE, [faults.stall(200_000).on(PLACE, times=1)]) as server:
        assert read_all(fetch(server, make_set(FILES), timeout_s=0.3)) == {NAME: DATA}
        assert server.asked(PLACE)[1].headers["Range"]


@pytest.mark.parametrize("stated", ["bytes 1000-1999/*", "bytes */*", f"bytes {'9' * 5000}-{'9' * 5000}/3000000", "x"])
def test_a_part_is_not_taken_for_the_whole_by_what_its_server_says(fetch: Fetch, stated: str) -> None:
    """Of a file whose size and hash nobody knows; the first request gets all of it but the end."""

    def answer_in_part(request: Request, reply: Reply, other: str) -> Reply:
        return replace(reply, status=206, headers={**reply.headers, "Content-Range": stated}, start=1000, stop=2000)

    shorter = [faults.cut(1000).on(PLACE, times=1), faults.Fault(after=answer_in_part).on(PLACE, first=2, times=1)]
    with serve(SITE, shorter) as server:
        assert read_all(fetch(server, make_set(FILES))) == {NAME: DATA}
        assert len(server.asked(PLACE)) == 3


def test_a_server_that_cuts_and_never_goes_on_is_given_up(fetch: Fetch) -> None:
    """Each attempt brings much, and none of it is new."""
    with serve(SITE, [faults.cut(2_000_000), faults.ignore("Range")]) as server:
        with pytest.raises(TemporaryError, match=r"the connection was cut \(attempt 3\)"):
            fetch(server, make_set(FILES))
        assert len(server.asked(PLACE)) <= 4


def test_a_file_whose_end_nothing_tells_is_not_taken(fetch: Fetch) -> None:
    """A cut would look like its end. Where a hash is known, it tells."""
    with serve(SITE, [faults.Fault(after=lambda request, reply, other: replace(reply, is_endless=True))]) as server:
        with pytest.raises(AcquisitionError, match=r"states no length, so a truncated file would"):
            fetch(server, make_set(FILES))
        assert read_all(fetch(server, make_set(PINNED))) == {NAME: DATA}


@pytest.mark.parametrize("tag", [None, b"", b"\xff", b'"a"\r\nX-Injected: 1', b'["a", 3]'])
def test_a_part_of_unknown_version_is_not_continued(fetch: Fetch, tag: bytes | None) -> None:
    PARTIAL.parent.mkdir(parents=True)
    PARTIAL.write_bytes(DATA[:1000])
    if tag is not None:
        PARTIAL.with_name(f"{PARTIAL.name}.tag").write_bytes(tag)
    with serve(SITE) as server:
        assert read_all(fetch(server, make_set(FILES))) == {NAME: DATA}
        assert "Range" not in server.asked(PLACE)[0].headers
