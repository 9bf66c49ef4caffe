"""One file through every trouble: right bytes or a clear error, and never a part taken for the whole."""

from __future__ import annotations

import email.utils
import random
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from openmedq.errors import AcquisitionError, ChecksumError, PassingError
from openmedq.fetch import file as download
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
ASIDE = Path("data/raw/toy_set") / needs.PARTIAL / NAME

FILES = make_files({NAME: DATA})
PINNED = make_files({NAME: DATA}, is_pinned=True)
SITE = {f"{URL}{NAME}": DATA}


def test_a_file_comes_whole_and_once(fetch: Fetch) -> None:
    with serve(SITE) as server:
        assert read_all(fetch(server, make_set(FILES))) == {NAME: DATA}
        num_requests = len(server.requests)
        assert read_all(fetch(server, make_set(FILES))) == {NAME: DATA}
        assert len(server.requests) == num_requests, "what is here is not asked for again"
    assert not ASIDE.exists()


@pytest.mark.parametrize(("num_bytes", "is_pinned", "num_tags"), [(9, True, 0), (9, False, 1), (len(DATA), True, 1)])
def test_a_version_is_noted_but_for_what_comes_whole_and_is_pinned(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, num_bytes: int, is_pinned: bool, num_tags: int
) -> None:
    noted = []
    write_text = Path.write_text
    monkeypatch.setattr(Path, "write_text", lambda path, *_, **__: noted.append(path) or write_text(path, *_, **__))
    data = {NAME: DATA[:num_bytes]}
    with serve({f"{URL}{NAME}": data[NAME]}) as server:
        assert read_all(fetch(server, make_set(make_files(data, is_pinned=is_pinned)))) == data
    assert len([path for path in noted if path.suffix == ".tag"]) == num_tags


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fault", [faults.cut, faults.truncate])
def test_a_cut_file_is_gone_on_with(fetch: Fetch, seed: int, fault: object) -> None:
    at = random.Random(seed).randrange(1, len(DATA))
    with serve(SITE, [fault(at).on(PLACE, times=1)]) as server:  # type: ignore[operator]
        assert read_all(fetch(server, make_set(FILES))) == {NAME: DATA}
        first, second = server.asked(PLACE)
    assert "Range" not in first.headers
    start = int(second.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= at
    assert second.status == 206
    assert second.headers["If-Range"]


def test_a_cut_that_stays_is_told_and_what_came_is_kept(fetch: Fetch) -> None:
    with serve(SITE, [faults.cut(1000).on(PLACE)]) as server:
        with pytest.raises(PassingError, match=rf"^{NAME}: {URL}{NAME}: the connection was cut .*partial data is kept"):
            fetch(server, make_set(FILES), attempts=2)
        assert 0 < ASIDE.stat().st_size <= 2000
        assert not TARGET.exists()
        server.faults.clear()
        assert read_all(fetch(server, make_set(FILES))) == {NAME: DATA}


def test_a_server_that_ignores_ranges_is_heard_from_the_start(fetch: Fetch) -> None:
    with serve(SITE, [faults.cut(500_000).on(PLACE, times=1), faults.ignore_range()]) as server:
        assert read_all(fetch(server, make_set(PINNED))) == {NAME: DATA}
        assert [request.status for request in server.asked(PLACE)] == [200, 200]


def test_a_file_that_changed_meanwhile_is_not_pieced_together(fetch: Fetch) -> None:
    with serve(SITE, [faults.cut(500_000).on(PLACE, times=1), faults.change(OTHER).on(PLACE, first=2)]) as server:
        assert read_all(fetch(server, make_set(FILES))) == {NAME: OTHER}


def test_without_a_validator_or_a_hash_nothing_is_pieced_together(fetch: Fetch) -> None:
    """Nothing would tell whether the rest is of the same file."""
    ASIDE.parent.mkdir(parents=True)
    ASIDE.write_bytes(b"x" * 1000)
    with serve(SITE) as server:
        assert read_all(fetch(server, make_set(FILES))) == {NAME: DATA}
        assert "Range" not in server.asked(PLACE)[0].headers


def test_a_begun_file_with_wrong_bytes_is_found_out_by_its_hash(fetch: Fetch) -> None:
    ASIDE.parent.mkdir(parents=True)
    ASIDE.write_bytes(b"x" * 1000)
    with serve(SITE) as server:
        assert read_all(fetch(server, make_set(PINNED))) == {NAME: DATA}
        assert [request.headers["Range"] for request in server.asked(PLACE)] == ["bytes=1000-", None]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_status_that_passes_is_waited_for(fetch: Fetch, code: int) -> None:
    with serve(SITE, [faults.status(code).on(PLACE, times=5)]) as server:
        assert read_all(fetch(server, make_set(FILES), attempts=6)) == {NAME: DATA}
        server.faults[:] = [faults.status(code).on(PLACE)]
        TARGET.unlink()
        with pytest.raises(PassingError, match=rf"openi\.nlm\.nih\.gov answers {code} [A-Z]\w.*\(attempt 5\)"):
            fetch(server, make_set(FILES), attempts=5)


@pytest.mark.parametrize("is_date", [False, True])
def test_retry_after_is_respected(fetch: Fetch, is_date: bool) -> None:
    asked: int | str = email.utils.formatdate(time.time() + 2, usegmt=True) if is_date else 1
    with serve(SITE, [faults.status(429, retry_after=asked).on(PLACE, times=1)]) as server:
        start = time.monotonic()
        fetch(server, make_set(FILES))
        assert time.monotonic() - start >= 0.9


def test_a_server_that_wants_to_be_left_alone_for_long_is(fetch: Fetch) -> None:
    with serve(SITE, [faults.status(503, retry_after=7200).on(PLACE)]) as server:
        with pytest.raises(PassingError, match=r"asks to wait 7200 s"):
            fetch(server, make_set(FILES))
        assert len(server.asked(PLACE)) == 1


def test_wrong_bytes_of_the_right_length_are_fetched_once_more_and_refused(fetch: Fetch) -> None:
    with serve(SITE, [faults.corrupt(7).on(PLACE)]) as server:
        with pytest.raises(ChecksumError, match=rf"^{NAME}: {URL}{NAME} has sha256 \w+, expected \w+; it is deleted"):
            fetch(server, make_set(PINNED))
        assert len(server.asked(PLACE)) == 2
        assert not TARGET.exists()
        assert not ASIDE.exists()
        server.faults[:] = [faults.corrupt(7).on(PLACE, times=3)]
        assert read_all(fetch(server, make_set(PINNED))) == {NAME: DATA}


def test_wrong_bytes_do_not_pass_by_themselves(fetch: Fetch) -> None:
    """However few attempts there are: nothing is kept of them, so that no later run goes on."""
    with serve(SITE, [faults.corrupt(7).on(PLACE)]) as server:
        with pytest.raises(ChecksumError, match="it is deleted") as told:
            fetch(server, make_set(PINNED), attempts=1)
        assert "later" not in str(told.value)
        server.faults[:] = [faults.corrupt(7).on(PLACE, first=3, times=1)]
        assert read_all(fetch(server, make_set(PINNED), attempts=1)) == {NAME: DATA}


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


@pytest.mark.parametrize("is_disguised", [False, True])
def test_a_page_is_no_file(fetch: Fetch, is_disguised: bool) -> None:
    with serve(SITE, [faults.html(is_disguised=is_disguised).on(PLACE)]) as server:
        with pytest.raises(AcquisitionError, match=r"sends an HTML page, not the published file"):
            fetch(server, make_set(FILES))
        assert len(server.asked(PLACE)) == 1
    assert not TARGET.exists()


def test_a_challenge_is_no_empty_file(fetch: Fetch) -> None:
    with serve(SITE, [faults.challenge().on(PLACE)]) as server, pytest.raises(AcquisitionError, match="answers 202"):
        fetch(server, make_set(FILES))


def test_a_file_that_is_gone_is_told_at_once(fetch: Fetch) -> None:
    with serve(SITE, [faults.not_found().on(PLACE)]) as server:
        with pytest.raises(AcquisitionError, match=rf"^{URL}{NAME}: openi\.nlm\.nih\.gov answers 404 Not Found"):
            fetch(server, make_set(FILES))
        assert len(server.asked(PLACE)) == 1


def test_a_stalled_server_is_left_and_asked_again(fetch: Fetch) -> None:
    with serve(SITE, [faults.stall(200_000).on(PLACE, times=1)]) as server:
        assert read_all(fetch(server, make_set(FILES), timeout_s=0.3)) == {NAME: DATA}
        assert server.asked(PLACE)[1].headers["Range"]


def test_a_slow_server_is_waited_for(fetch: Fetch) -> None:
    with serve(SITE, [faults.slow(6_000_000).on(PLACE)]) as server:
        assert read_all(fetch(server, make_set(FILES), timeout_s=0.3)) == {NAME: DATA}
        assert len(server.asked(PLACE)) == 1


def test_an_empty_file_is_none(fetch: Fetch) -> None:
    with serve({f"{URL}empty": b""}) as server, pytest.raises(AcquisitionError, match="is an empty file"):
        fetch(server, make_set(make_files({"empty": b""})))


@pytest.mark.parametrize(
    "told", ["bytes 1000-1999/*", "bytes */*", f"bytes {'9' * 5000}-{'9' * 5000}/3000000", "", "x"]
)
def test_a_part_is_not_taken_for_the_whole_by_what_its_server_says(fetch: Fetch, told: str) -> None:
    """Of a file whose size and hash nobody knows; the first request gets all of it but the end."""

    def answer_in_part(request: Request, reply: Reply, other: str) -> Reply:
        return replace(reply, status=206, headers={**reply.headers, "Content-Range": told}, start=1000, stop=2000)

    shorter = [faults.cut(1000).on(PLACE, times=1), faults.Fault(after=answer_in_part).on(PLACE, first=2, times=1)]
    with serve(SITE, shorter) as server:
        assert read_all(fetch(server, make_set(FILES))) == {NAME: DATA}
        assert len(server.asked(PLACE)) == 3


def test_more_than_the_length_that_is_told_is_not_the_file(fetch: Fetch) -> None:
    def answer_with_more(request: Request, reply: Reply, other: str) -> Reply:
        told = {**reply.headers, "Content-Range": f"bytes {reply.start}-{len(DATA) - 1}/{len(DATA)}"}
        longer = Content(DATA + b"x" * 1000)
        return replace(reply, status=206, headers=told, content=longer, stop=len(DATA) + 1000, is_chunked=True)

    begun = [faults.cut(1000).on(PLACE, times=1), faults.Fault(after=answer_with_more).on(PLACE, first=2)]
    with serve(SITE, begun) as server:
        with pytest.raises(PassingError, match="the server sends more bytes than it announced"):
            fetch(server, make_set(FILES))
        assert not TARGET.exists()
        server.faults.clear()
        assert read_all(fetch(server, make_set(FILES))) == {NAME: DATA}


def test_a_server_that_cuts_and_never_goes_on_is_given_up(fetch: Fetch) -> None:
    """Each attempt brings much, and none of it is new."""
    with serve(SITE, [faults.cut(2_000_000), faults.ignore_range()]) as server:
        with pytest.raises(PassingError, match=r"the connection was cut \(attempt 3\)"):
            fetch(server, make_set(FILES))
        assert len(server.asked(PLACE)) <= 4


def test_a_server_that_sends_a_byte_now_and_then_is_as_one_that_sends_nothing(fetch: Fetch) -> None:
    with serve(SITE, [faults.slow(20).on(PLACE, times=1)]) as server:
        assert read_all(fetch(server, make_set(FILES), timeout_s=0.3)) == {NAME: DATA}
        assert len(server.asked(PLACE)) == 2


def test_a_file_without_an_end_does_not_fill_the_disk(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a size is known, room was looked for before."""
    free = [3_000_000_000, 3_000_000_000, 2_000_000_000, 1_000_000_000]
    monkeypatch.setattr(download, "RESERVE_CHECK_BYTES", 2**19)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda place: SimpleNamespace(free=free.pop(0) if free else 0))
    sized = (FILES[0].model_copy(update={"about_bytes": len(DATA)}),)
    chunked = faults.Fault(after=lambda request, reply, other: replace(reply, is_chunked=True))
    with serve(SITE, [chunked]) as server:
        with pytest.raises(AcquisitionError, match=rf"has no known end.* less than 1\.1 GB free; .* remove {ASIDE}"):
            fetch(server, make_set(FILES))
        assert ASIDE.stat().st_size < len(DATA)
        free[:] = [len(DATA)]
        assert read_all(fetch(server, make_set(sized))) == {NAME: DATA}


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "br"])
def test_a_file_that_was_compressed_on_the_way_is_not_the_file(fetch: Fetch, encoding: str) -> None:
    def encode(request: Request, reply: Reply, other: str) -> Reply:
        return replace(reply, headers={**reply.headers, "Content-Encoding": encoding})

    files = {"a.csv": b"id\n1\n", "b.tgz": b"\x1f\x8b"}
    with serve({f"{URL}{name}": data for name, data in files.items()}, [faults.Fault(after=encode)]) as server:
        with pytest.raises(AcquisitionError, match=rf"^a\.csv: .* has Content-Encoding '{encoding}'"):
            fetch(server, make_set(make_files({"a.csv": b""})))
        if "gzip" in encoding:  # as servers say of an archive that they send as it is
            assert read_all(fetch(server, make_set(make_files({"b.tgz": b""})))) == {"b.tgz": files["b.tgz"]}


def test_a_file_whose_end_nothing_tells_is_not_taken(fetch: Fetch) -> None:
    """A cut would look like its end. Where a hash is known, it tells."""
    with serve(SITE, [faults.Fault(after=lambda request, reply, other: replace(reply, is_endless=True))]) as server:
        with pytest.raises(AcquisitionError, match=r"does not state where the file ends, so a cut file would"):
            fetch(server, make_set(FILES))
        assert read_all(fetch(server, make_set(PINNED))) == {NAME: DATA}


@pytest.mark.parametrize(
    "tag",
    [
        *(b"\0\0\0", b"\xff", b'"a"\r\nX-Injected: 1', b"", b"[" * 3000, b'"a"', b"[]", b"{}"),
        *(b'{"etag": "\\"a\\"\\r\\nX-Injected: 1"}', b'{"etag": 1}', b'{"etag": null, "num_bytes": "x"}'),
    ],
)
def test_a_damaged_tag_is_none(fetch: Fetch, tag: bytes) -> None:
    ASIDE.parent.mkdir(parents=True)
    ASIDE.write_bytes(DATA[:1000])
    ASIDE.with_name(f"{ASIDE.name}.tag").write_bytes(tag)
    with serve(SITE) as server:
        assert read_all(fetch(server, make_set(FILES))) == {NAME: DATA}
        assert "Range" not in server.asked(PLACE)[0].headers


def test_a_part_of_another_version_is_not_joined_by_its_tag(fetch: Fetch) -> None:
    """From a server that does not heed If-Range, as some caches."""

    def forget(request: Request) -> Request:
        del request.headers["If-Range"]
        return request

    heedless = [faults.Fault(before=forget), faults.change(OTHER).on(PLACE, first=2)]
    with serve(SITE, [faults.cut(500_000).on(PLACE, times=1), *heedless]) as server:
        assert read_all(fetch(server, make_set(FILES))) == {NAME: OTHER}
        assert 206 in [request.status for request in server.asked(PLACE)]
