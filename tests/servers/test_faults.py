"""Each fault does what it says, where it says it."""

from __future__ import annotations

import hashlib
import http.client
import subprocess
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.servers import Server, faults, serve
from tests.servers.asking import DATA, PHYSIONET, PLAIN, ZENODO, ask, get
from tests.servers.small_disk import small_disk


def read_some(url: str, **headers: str) -> tuple[bytes, str]:
    """What arrives, and the error that ends it."""
    data = b""
    try:
        with urlopen(Request(url, headers=headers)) as reply:
            while piece := reply.read1():
                data += piece
            if reply.length:
                return data, "IncompleteRead"
    except OSError as error:
        return data, type(error).__name__
    return data, ""


def test_cut(server: Server) -> None:
    server.faults.append(faults.cut(at=1234).on("zenodo.org/*", times=1))
    assert read_some(server.url(ZENODO)) == (DATA[:1234], "ConnectionResetError")
    assert read_some(server.url(PLAIN)) == (DATA, "")
    assert read_some(server.url(ZENODO), Range="bytes=1234-") == (DATA[1234:], "")


def test_cut_of_a_stream() -> None:
    url = "https://files.osf.io/v1/resources/89kps/providers/osfstorage/5b21/?zip="
    with serve({url: DATA}, [faults.truncate(at=1000)]) as server, urlopen(server.url(url)) as reply:
        with pytest.raises(http.client.IncompleteRead) as caught:
            reply.read()
        assert caught.value.partial == DATA[:1000]


def test_truncate(server: Server) -> None:
    server.faults.append(faults.truncate(at=1234))
    with pytest.raises(http.client.IncompleteRead) as caught:
        get(server.url(PLAIN))
    assert caught.value.partial == DATA[:1234]
    assert get(server.url(PLAIN), "HEAD")[1]["Content-Length"] == str(len(DATA))


def test_status(server: Server) -> None:
    server.faults.append(faults.status(500).on("*/a.zip", times=5))
    server.faults.append(faults.status(429, retry_after=2).on("*/a.tgz", first=2, times=1))
    assert [get(server.url(ZENODO))[0] for _ in range(6)] == [500] * 5 + [200]
    answers = [get(server.url(PLAIN)) for _ in range(3)]
    assert [answer[0] for answer in answers] == [200, 429, 200]
    assert answers[1][1]["Retry-After"] == "2"
    assert [r.status for r in server.asked("zenodo.org/*")] == [500] * 5 + [200]


def test_other_bytes(server: Server) -> None:
    server.faults.append(faults.corrupt(at=3).on("zenodo.org/*"))
    headers, body = get(server.url(ZENODO))[1:]
    assert len(body) == len(DATA) and [i for i in range(len(DATA)) if body[i] != DATA[i]] == [3]
    assert headers["ETag"] == f'"md5:{hashlib.md5(DATA).hexdigest()}"'
    server.faults[:] = [faults.shorten(10)]
    assert get(server.url(PLAIN))[2] == DATA[:10]


def test_change(server: Server) -> None:
    server.faults.append(faults.change(b"another file").on(first=2))
    etag = get(server.url(PLAIN))[1]["ETag"]
    status, headers, body = get(server.url(PLAIN), Range="bytes=3-", If_Range=etag)
    assert (status, body) == (200, b"another file") and headers["ETag"] != etag
    assert get(server.url(PLAIN), Range="bytes=3-")[::2] == (206, b"ther file")
    assert get(server.url(PLAIN), Range="bytes=20-")[0] == 416


def test_html_and_challenge(server: Server) -> None:
    server.faults.append(faults.html().on("zenodo.org/*"))
    server.faults.append(faults.html(is_disguised=True).on("openi*"))
    status, headers, body = get(server.url(ZENODO))
    assert (status, headers.get_content_type()) == (200, "text/html") and body.startswith(b"<!DOCTYPE html>")
    assert get(server.url(PLAIN))[1].get_content_type() == "application/octet-stream"
    server.faults[:] = [faults.challenge()]
    assert get(server.url(PLAIN))[::2] == (202, b"")


def test_redirect_to_another_host(server: Server) -> None:
    server.faults.append(faults.redirect_to("evil.example.org"))
    status, headers = ask(server.url(PHYSIONET))
    assert (status, headers["Location"]) == (302, f"{server.site.other}/evil.example.org/files/set/1.0/a.csv.gz")
    assert get(server.url(PHYSIONET))[0] == 404
    assert [r.place for r in server.requests[-2:]] == [
        "physionet.org/files/set/1.0/a.csv.gz",
        "evil.example.org/files/set/1.0/a.csv.gz",
    ]


def test_ignore_range(server: Server) -> None:
    server.faults.append(faults.ignore_range().on(times=1))
    assert get(server.url(PLAIN), Range="bytes=5-")[::2] == (200, DATA)
    assert get(server.url(PLAIN), Range="bytes=5-")[0] == 206
    assert server.requests[0].headers["Range"] == "bytes=5-"  # as asked


def test_slow_and_corrupt_compose(server: Server) -> None:
    server.faults += [faults.slow(500_000), faults.corrupt(0)]
    begin = time.monotonic()
    body = get(server.url(PLAIN))[2]
    assert time.monotonic() - begin > 0.15
    assert body[0] == 255 and body[1:] == DATA[1:]


def test_stall_ends_with_the_server() -> None:
    with serve({PLAIN: DATA}, [faults.stall(at=1000)]) as server, urlopen(server.url(PLAIN)) as reply:
        assert reply.read(1000) == DATA[:1000]
        assert server.wait("openi*", num_bytes=1000).num_bytes == 1000
        with pytest.raises(TimeoutError):
            server.wait("openi*", num_bytes=1001, timeout_s=0.1)


def test_files_may_lie_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    with serve({PLAIN: tmp_path / "a"}) as server:
        assert get(server.url(PLAIN), Range="bytes=9-19")[2] == DATA[9:20]


def test_a_small_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path, 65_536) as disk:
        fill = disk.wrap(["dd", "if=/dev/zero", f"of={tmp_path}/a", "bs=1024", "count=100"])
        full = subprocess.run(fill, capture_output=True, text=True)
        assert full.returncode and "No space left" in full.stderr
        assert not (tmp_path / "a").exists()  # on a disk that only the command saw
        disk.grow(1_000_000)
        assert subprocess.run(fill, capture_output=True).returncode == 0
