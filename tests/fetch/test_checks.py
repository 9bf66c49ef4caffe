"""Files of unknown hash: another file is refused, and not recorded."""

import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.cli import main
from openmedq.errors import AcquisitionError, StaleError
from openmedq.fetch import checks, ledger
from openmedq.storage import unexpected
from tests.fetch.conftest import URL, Fetch, make_files, make_set, read_all
from tests.servers import faults, serve

FOLDER = Path("data/raw/toy_set/files")


def _make_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", b"a" * 5000)
    return buffer.getvalue()


def _make_parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), buffer)
    return buffer.getvalue()


WHOLE = {
    "a.zip": _make_zip(),
    "a.npz": _make_zip(),
    "a.parquet": _make_parquet(),
    "a.json": b'\xef\xbb\xbf\n[{"a": 1}]\n',
    "b.json": b"{}",
    "a.jsonl": b'{"a": 1}\n{"a": 2}\n',
    "a.csv": "id,größe\n1,2\n".encode(),
    "a.txt": b"[{<",
}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
WRONG = [
    *((name, b"Too many requests, try again later. " * 20) for name in ("a.zip", "a.parquet", "a.json")),
    *((name, POINTER) for name in WHOLE),
    ("a.csv", b'{"error": "forbidden"}'),
    *((name, b"<?xml version='1.0'?><Error>AccessDenied</Error>") for name in ("a.csv", "a.json")),
    ("a.csv", b"id\0\1\2"),
]


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_come(fetch: Fetch, name: str) -> None:
    with serve({f"{URL}{name}": WHOLE[name]}) as server:
        assert read_all(fetch(server, make_set(make_files({name: WHOLE[name]})))) == {name: WHOLE[name]}
    assert name in ledger.read("toy_set")


@pytest.mark.parametrize(("name", "data"), WRONG, ids=[f"{name}-{number}" for number, (name, _) in enumerate(WRONG)])
def test_what_is_not_the_file_is_refused_and_not_recorded(fetch: Fetch, name: str, data: bytes) -> None:
    message = rf"^{name}: {URL}{name} (does not begin as|sends an?) .*: open the address in a browser$"
    with serve({f"{URL}{name}": data}) as server:
        with pytest.raises(AcquisitionError, match=message) as caught:
            fetch(server, make_set(make_files({name: data})))
        assert "\n" not in str(caught.value)
        assert not (FOLDER / name).exists() and not ledger.read("toy_set")
        if unexpected.describe(data):
            return
        pinned = make_set(make_files({name: data}, is_pinned=True))
        assert read_all(fetch(server, pinned)) == {name: data}, "a published hash is enough"


def test_a_cut_zip_is_refused_and_not_recorded(fetch: Fetch) -> None:
    """Its host packs it while it sends it, so its size is unknown."""
    files = make_set(make_files({"a.zip": WHOLE["a.zip"]}))
    with serve({f"{URL}a.zip": WHOLE["a.zip"]}, [faults.shorten(len(WHOLE["a.zip"]) - 30)]) as server:
        with pytest.raises(AcquisitionError, match=r"^a\.zip: \S+ is incomplete; it is deleted; run the com"):
            fetch(server, files)
        assert not (FOLDER / "a.zip").exists() and not ledger.read("toy_set")
        server.faults.clear()
        assert read_all(fetch(server, files)) == {"a.zip": WHOLE["a.zip"]}


PAGES = {
    "a mark of its encoding": b"\xef\xbb\xbf<!DOCTYPE html><html>",
    "XHTML": b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">',
    "comments": b"<!-- saved -->\n<!-- twice --><html><body>login",
    "UTF-16": "\ufeff<html><body>".encode("utf-16"),
    "two lines before it": b"\r\n\r\n<!doctype  html>",
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_page_is_recognized_however_it_begins(page: bytes) -> None:
    assert unexpected.describe(page) and unexpected.describe(page)[0] == "an HTML page"


@pytest.mark.parametrize("kind", ["text/html", "Text/HTML; charset=utf-8", "application/xhtml+xml"])
def test_what_is_called_a_page_is_one_unless_its_hash_is_known(fetch: Fetch, kind: str) -> None:
    files = {"a.csv": b"id\n1\n"}
    with serve({f"{URL}a.csv": files["a.csv"]}, [faults.state(Content_Type=kind)]) as server:
        with pytest.raises(AcquisitionError, match="sends an HTML page, not the published file"):
            fetch(server, make_set(make_files(files)))
        assert read_all(fetch(server, make_set(make_files(files, is_pinned=True)))) == files


@pytest.mark.parametrize("start", [b"<?xml version='1.0'?><eCitation>", b"<htmlish", b"a <html>", b"<!-- only", b""])
def test_what_only_looks_like_a_page_is_a_file(start: bytes) -> None:
    checks.check_start(make_files({"a.bin": b""})[0], "application/octet-stream", start)


def test_what_lies_there_and_is_another_file_is_not_recorded_either(fetch: Fetch) -> None:
    FOLDER.mkdir(parents=True)
    (FOLDER / "a.zip").write_bytes(POINTER)
    with serve({f"{URL}a.zip": WHOLE["a.zip"]}) as server, pytest.raises(StaleError, match="not the published file"):
        fetch(server, make_set(make_files({"a.zip": b""})))
    assert not ledger.read("toy_set")


def test_an_accepted_file_is_fetched_anew(fetch: Fetch, capsys: pytest.CaptureFixture[str]) -> None:
    """The first download was damaged, and no check could show it."""
    bad, good = b"id\nx\n", b"id\n1\n"
    set_ = make_set(make_files({"a.csv": bad}))
    with serve({f"{URL}a.csv": bad}) as server:
        fetch(server, set_)
    Path("data/raw/toy_set").rename("data/raw/slake")
    Path("data/ledger/toy_set.yaml").rename("data/ledger/slake.yaml")
    assert "accept slake FILE" in ledger.HEADER.format("slake")
    assert main(["accept", "slake", "a.csv"]) == 0
    assert capsys.readouterr().out == "slake: a.csv: will be downloaded and recorded again\n"
    assert main(["accept", "slake"]) == 0
    assert capsys.readouterr().out == "slake: no recorded file, so nothing to accept\n"
    Path("data/raw/slake").rename("data/raw/toy_set")
    with serve({f"{URL}a.csv": good}) as server:
        assert read_all(fetch(server, set_)) == {"a.csv": good}
