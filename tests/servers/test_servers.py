"""Each host answers as the real one does."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from xml.etree import ElementTree

import pytest

from tests.servers import Server, serve
from tests.servers.asking import DATA, PHYSIONET, PLAIN, ZENODO, ask, get
from tests.servers.hosts import READER
from tests.servers.physionet import UNSIGNED

pytestmark = pytest.mark.faults  # what `make test-faults` stands on


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
