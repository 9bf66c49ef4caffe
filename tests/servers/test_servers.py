"""The servers themselves: huggingface_hub is the hub's oracle; each fault does what it says, where it says it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import subprocess
import time
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen
from xml.etree import ElementTree

import pytest

from tests.servers import Server, faults, serve
from tests.servers.hosts import READER
from tests.servers.physionet import UNSIGNED
from tests.servers.small_disk import small_disk

DATA = bytes(range(256)) * 400  # 102,400 bytes
ZENODO = "https://zenodo.org/records/1/files/a.zip?download=1"
PLAIN = "https://openi.nlm.nih.gov/imgs/a.tgz"
PHYSIONET = "https://physionet.org/files/set/1.0/a.csv.gz"


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, Message, bytes]:
    """Status, headers and body, whatever the status; redirects are followed."""
    told = {name.replace("_", "-"): text for name, text in headers.items()}
    try:
        with urlopen(Request(url, method=method, headers=told)) as reply:
            return reply.status, reply.headers, reply.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def ask(url: str, **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers; redirects are not followed."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    told = {name.replace("_", "-"): text for name, text in headers.items()}
    connection.request("GET", f"{parts.path}?{parts.query}", headers=told)
    with connection.getresponse() as reply:
        found = reply.status, dict(reply.getheaders())
    connection.close()
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    with serve({ZENODO: DATA, PLAIN: DATA, PHYSIONET: DATA}) as running:
        yield running


# Hosts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("0-9", 0, 10), ("100-", 100, None), ("-5", -5, None), ("102399-999999", 102_399, None)],
)
def test_ranges(server: Server, asked: str, start: int, stop: int | None) -> None:
    status, headers, body = get(server.url(PLAIN), Range=f"bytes={asked}")
    assert (status, body) == (206, DATA[start:stop])
    first = start % len(DATA)
    assert headers["Content-Range"] == f"bytes {first}-{first + len(body) - 1}/{len(DATA)}"
    assert server.requests[-1].headers["Range"] == f"bytes={asked}"
    assert server.requests[-1].num_bytes == len(body)


def test_a_range_behind_the_end_is_refused(server: Server) -> None:
    status, headers, _ = get(server.url(PLAIN), Range=f"bytes={len(DATA)}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(DATA)}")


def test_a_range_of_another_file_is_the_whole_file(server: Server) -> None:
    etag = get(server.url(PLAIN), "HEAD")[1]["ETag"]
    assert get(server.url(PLAIN), Range="bytes=5-", If_Range=etag)[0] == 206
    assert get(server.url(PLAIN), Range="bytes=5-", If_Range='"other"')[::2] == (200, DATA)


def test_zenodo(server: Server) -> None:
    md5 = hashlib.md5(DATA).hexdigest()
    record = json.loads(get(server.url("https://zenodo.org/api/records/1"))[2])
    assert record["files"][0]["checksum"] == f"md5:{md5}"
    link = record["files"][0]["links"]["self"]
    assert get(link)[2] == DATA
    assert get(link, Range="bytes=5-")[0] == 200  # the API's address knows no ranges
    status, headers, body = get(server.url(ZENODO), Range="bytes=5-")
    assert (status, body, headers["ETag"]) == (206, DATA[5:], f'"md5:{md5}"')
    assert get(server.url("https://zenodo.org/record/1/files/a.zip"))[2] == DATA
    assert get(server.url("https://zenodo.org/records/2/files/a.zip"))[0] == 404


def test_osf() -> None:
    folder = "https://files.osf.io/v1/resources/89kps/providers/osfstorage/5b21/?zip="
    with serve({"https://osf.io/download/6qdas/": DATA, folder: DATA[::-1]}) as server:
        assert get(server.url("https://osf.io/download/6qdas/"))[2] == DATA
        assert [r.host for r in server.requests] == ["osf.io", "files.osf.io"]
        link = ask(server.url("https://osf.io/6qdas/download"))[1]["Location"]
        assert get(link, Range="bytes=5-")[::2] == (206, DATA[5:])
        assert get(link.replace("&direct", ""), Range="bytes=5-")[::2] == (206, DATA[5:])
        assert server.requests[-1].host == "storage.googleapis.com"
        assert server.requests[-1].headers["Host"].startswith("localhost:")
        status, headers, body = get(server.url(folder), Range="bytes=5-")
        assert (status, body, headers["Transfer-Encoding"]) == (200, DATA[::-1], "chunked")
        assert not {"Content-Length", "ETag", "Accept-Ranges"} & set(headers)


def test_osf_lists_a_folder() -> None:
    members = {f"synpic{number}.jpg": b"JPEG" * number for number in range(25)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    folder = "https://files.osf.io/v1/resources/89kps/providers/osfstorage/5b21/?zip="
    listing = "https://api.osf.io/v2/nodes/89kps/files/osfstorage"
    with serve({folder: packed.getvalue()}) as server:
        url, entries = server.url(f"{listing}/5b21/"), []
        while url:
            page = json.loads(get(url)[2])
            entries += [entry["attributes"] for entry in page["data"]]
            url = page["links"]["next"]
        assert len(server.requests) == 3
        for entry in entries:
            data = get(server.url(f"https://osf.io/download/{entry['guid']}/"))[2]
            assert data == members.pop(entry["name"])
            assert entry["extra"]["hashes"]["sha256"] == hashlib.sha256(data).hexdigest()
        assert not members
        assert get(server.url(f"{listing}/5b22/"))[0] == 404


def test_physionet(server: Server) -> None:
    pairs = (READER, (READER[0], "wrong"), UNSIGNED)
    right, wrong, unsigned = ("Basic " + base64.b64encode(":".join(pair).encode()).decode() for pair in pairs)
    assert get(server.url(PHYSIONET), Authorization=right, Range="bytes=7-")[::2] == (206, DATA[7:])
    status, headers, body = get(server.url(PHYSIONET))
    assert (status, headers.get_content_type()) == (200, "text/html")
    assert DATA not in body and server.requests[-1].argument("next") == "/files/set/1.0/a.csv.gz"
    assert get(server.url(PHYSIONET), Authorization=wrong)[0] == 401
    assert get(server.url(PHYSIONET), Authorization=unsigned)[0] == 403
    sums = get(server.url("https://physionet.org/files/set/1.0/SHA256SUMS.txt"), Authorization=right)[2]
    assert sums.decode() == f"{hashlib.sha256(DATA).hexdigest()} a.csv.gz\n"
    with serve({PHYSIONET: DATA}, login="challenge") as other:
        status, headers, _ = get(other.url(PHYSIONET))
        assert status == 401 and headers["WWW-Authenticate"].startswith("Basic ")
    with serve({PHYSIONET: DATA}, login="wget") as other:
        assert get(other.url(PHYSIONET), Authorization=right)[0] == 403
        assert get(other.url(PHYSIONET), User_Agent="Wget/1.21.4")[0] == 401
        assert get(other.url(PHYSIONET), User_Agent="Wget/1.21.4", Authorization=right)[2] == DATA


def test_figshare() -> None:
    with serve({"https://ndownloader.figshare.com/files/7": DATA}) as server:
        assert get(server.url("https://ndownloader.figshare.com/files/7"))[2] == DATA
        assert get(server.url("https://api.figshare.com/v2/file/download/7"))[2] == DATA
        assert get(server.url("https://figshare.com/ndownloader/files/7"))[::2] == (202, b"")
        article = json.loads(get(server.url("https://api.figshare.com/v2/articles/1"))[2])
        assert article["files"][0]["computed_md5"] == hashlib.md5(DATA).hexdigest()
        assert get(article["files"][0]["download_url"])[2] == DATA


def test_box() -> None:
    lists = "https://nihcc.app.box.com/index.php?rm=box_download_shared_file&vanity_name=ChestXray-NIHCC&file_id=f_"
    files = {"https://nihcc.box.com/shared/static/x1.gz": DATA, f"{lists}1": b"one", f"{lists}2": b"two"}
    with serve(files) as server:
        assert get(server.url("https://nihcc.box.com/shared/static/x1.gz"))[2] == DATA
        assert [r.host for r in server.requests] == ["nihcc.box.com", "nihcc.app.box.com", "public.boxcloud.com"]
        assert get(server.url("https://nihcc.box.com/shared/static/x1.gz"), "HEAD")[0] == 404
        assert [get(server.url(f"{lists}{number}"))[2] for number in (1, 2)] == [b"one", b"two"]
        assert b"<html>" in get(server.url("https://nihcc.app.box.com/v/ChestXray-NIHCC"))[2]


def test_signed_links() -> None:
    """A link's signature is its own, for GET alone, and no password is to follow it."""
    url = "https://ndownloader.figshare.com/files/7"
    with serve({url: DATA}, has_short_links=True) as server:
        first, second = (ask(server.url(url))[1]["Location"] for _ in range(2))
        assert first != second
        assert get(first, "HEAD")[0] == 403
        assert get(first, Authorization="Basic eA==")[0] == 400
        assert get(first, Range="bytes=5-")[::2] == (206, DATA[5:])
        assert get(first)[0] == 403  # run out
        assert get(second.replace("Signature=", "Signature=0"))[0] == 403
        assert get(second)[2] == DATA


def test_bucket() -> None:
    bucket = "https://pmc-oa-opendata.s3.amazonaws.com"
    keys = [f"PMC1.{version}/fig {number}.jpg" for version in (1, 2) for number in range(3)]
    with serve({f"{bucket}/{key.replace(' ', '%20')}": key.encode() for key in [*keys, "PMC12.1/a.jpg"]}) as server:

        def list_keys(query: str, tag: str = "Key") -> tuple[list[str], str | None]:
            root = ElementTree.fromstring(get(server.url(f"{bucket}/?list-type=2&{query}"))[2])
            space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
            assert root.findtext(f"{space}IsTruncated") in ("true", "false")
            return [node.text or "" for node in root.iter(space + tag)], root.findtext(f"{space}NextContinuationToken")

        assert list_keys("prefix=PMC1.") == (keys, None)
        assert list_keys("prefix=PMC9.") == ([], None)
        first, token = list_keys("prefix=PMC1.&max-keys=4")
        rest, last = list_keys(f"prefix=PMC1.&max-keys=4&continuation-token={token}")
        assert (first + rest, last) == (keys, None) and len(first) == 4
        prefixes, _ = list_keys("prefix=PMC1.&delimiter=/", "Prefix")
        assert prefixes[1:] == ["PMC1.1/", "PMC1.2/"]  # the first is the prefix asked for
        assert get(server.url(f"{bucket}/PMC1.1/fig%200.jpg"), Range="bytes=0-2")[::2] == (206, b"PMC")
        status, _, body = get(server.url(f"{bucket}/PMC3.1/a.jpg"))
        assert status == 404 and b"<Code>NoSuchKey</Code>" in body
        assert get(server.url(f"{bucket}/"))[0] == 403


# Faults ---------------------------------------------------------------------------------------------------------------


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
    assert 0.15 < time.monotonic() - begin < 2
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
