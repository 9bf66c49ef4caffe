import asyncio
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from openmedq.config import Execution
from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError, ChecksumError, StaleError, TemporaryError
from openmedq.fetch import hosts
from openmedq.fetch.client import Client
from tests.fetch.conftest import Fetch, make_set, read_all
from tests.servers import Server, faults, serve
from tests.servers.exchange import Content, Reply

REPOSITORY, COMMIT = "BoKelvin/SLAKE", "a" * 40
HUB = f"https://huggingface.co/datasets/{REPOSITORY}/resolve/{COMMIT}/"
DATA = {"train.json": b'[{"q": 1}]', "imgs/a b.zip": b"PK" * 9000}
SITE: dict[str, bytes | Path] = {f"{HUB}{name.replace(' ', '%20')}": data for name, data in DATA.items()}
FILES = tuple(File(path=name, url=f"{HUB}{name.replace(' ', '%20')}") for name in DATA)

RECORD = "https://zenodo.org/records/10499039/files/"
ZIP = b"PK" * 500
ZENODO: dict[str, bytes | Path] = {f"{RECORD}a%20b.zip": ZIP, f"{RECORD}c.txt": b"c"}
C_TXT = File(path="c.txt", url=f"{RECORD}c.txt")

COLLECTION = "https://api.figshare.com/v2/collections/7/articles"
FILE = File(path="One.zip", url=f"{COLLECTION}#One/*.zip")
MD5 = hashlib.md5(b"PK").hexdigest()
ARTICLES = [{"id": 2, "title": "Two: more"}, {"id": 3, "title": "one_A set"}]
ENTRIES = [
    {"id": 8, "name": "link only", "size": 0, "computed_md5": None},
    {"id": 9, "name": "Its.ZIP", "size": 2, "computed_md5": MD5},
]


def figshare(articles: Any = ARTICLES, entries: Any = ENTRIES) -> dict[str, bytes | Path]:
    answers = {COLLECTION: articles, "https://api.figshare.com/v2/articles/3/files": entries}
    return {url: data if isinstance(data, bytes) else json.dumps(data).encode() for url, data in answers.items()}


def describe(server: Server, *files: File) -> list[File]:
    async def ask() -> list[File]:
        async with Client(Execution(endpoints=server.endpoints, attempts=2, backoff_s=0.001)) as client:
            return await hosts.describe(client, list(files))

    return asyncio.run(ask())


def test_the_hub_states_size_and_sha256() -> None:
    with serve(SITE) as server:
        text, archive = describe(server, *FILES)
    assert archive.size_bytes == 18_000
    assert archive.sha256 == hashlib.sha256(DATA["imgs/a b.zip"]).hexdigest()
    assert (text.size_bytes, text.sha256) == (10, None), "git stores it: the hub states no sha256"


def test_present_files_are_compared_with_what_the_hub_states(fetch: Fetch) -> None:
    """Before the ledger records them."""
    archive = Path("data/raw/toy_set/files/imgs/a b.zip")
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"PX" * 9000)
    with serve(SITE) as server:
        with pytest.raises(StaleError, match="not the published file"):
            fetch(server, make_set(FILES))
        archive.write_bytes(DATA["imgs/a b.zip"])
        assert read_all(fetch(server, make_set(FILES))) == DATA
        assert not server.asked("*hf.co/*"), "it has the expected hash"


def test_other_bytes_than_the_hub_states_are_refused_and_no_signed_link_is_shown(
    fetch: Fetch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with serve(SITE, [faults.corrupt(3).on("*hf.co/*")]) as server:
        with pytest.raises(ChecksumError, match="expected ") as error:
            fetch(server, make_set(FILES))
        signed = [request.query for request in server.asked("*hf.co/*")]
    shown = "".join((str(error.value), caplog.text, *capfd.readouterr()))
    assert signed and not any(query in shown for query in signed)


def test_a_cut_download_resumes_at_a_new_signed_link(fetch: Fetch) -> None:
    with serve(SITE, [faults.cut(10_000).on("*hf.co/*", times=1)]) as server:
        assert read_all(fetch(server, make_set(FILES))) == DATA
        first, second = server.asked("*hf.co/*")
    assert first.query != second.query
    assert (second.status, second.num_bytes) == (206, 18_000 - int(second.headers["Range"][6:-1]))


def test_a_pin_that_the_hub_contradicts_is_reported_before_a_byte_comes(fetch: Fetch) -> None:
    pinned = (FILES[1].model_copy(update={"sha256": "0" * 64}),)
    with serve(SITE) as server:
        with pytest.raises(AcquisitionError, match=r"^imgs/a b\.zip: its host states sha256 \w+, the card 0+; correct"):
            fetch(server, make_set(pinned))
        assert not server.asked("*/resolve/*")


def test_a_token_goes_to_the_hub_and_not_along_to_its_store(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve(SITE, gated={REPOSITORY: "hf_secret"}) as server:
        assert read_all(fetch(server, make_set(FILES))) == DATA
        assert all(r.headers["Authorization"] == "Bearer hf_secret" for r in server.asked("huggingface.co/*"))
        elsewhere = [request for request in server.requests if request.host != "huggingface.co"]
        assert elsewhere
        assert not any("Authorization" in request.headers for request in elsewhere)


def test_a_token_goes_to_no_hub_that_others_can_listen_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("openmedq.fetch.addresses.is_private", lambda url: False)
    with serve(SITE) as server:
        describe(server, *FILES)
        assert server.requests
        assert not any("Authorization" in request.headers for request in server.requests)


@pytest.mark.parametrize(
    ("token", "message"),
    [(None, "answers 401 Unauthorized; set HF_TOKEN, or run `hf auth login`"), ("hf_wrong", "may lack access")],
)
def test_a_gate_is_reported(
    fetch: Fetch,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    token: str | None,
    message: str,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    site = serve(SITE, gated={REPOSITORY: "hf_secret"})
    with site as server, pytest.raises(AcquisitionError, match=message) as error:
        fetch(server, make_set(FILES))
    assert "hf_wrong" not in str(error.value) + "".join(capsys.readouterr())


def test_zenodo_states_size_and_md5() -> None:
    archive = File(path="a b.zip", url=f"{RECORD}a%20b.zip?download=1")
    pinned = File(path="c.txt", url=f"{RECORD}c.txt?download=1", md5="0" * 32)
    elsewhere = File(path="d", url="https://example.org/d")
    with serve(ZENODO) as server:
        found = describe(server, archive, pinned, elsewhere)
        assert [request.path for request in server.requests] == ["/api/records/10499039"]
    assert found[1:] == [pinned, elsewhere]
    assert (found[0].size_bytes, found[0].md5) == (1000, hashlib.md5(ZIP).hexdigest())


def test_other_files_of_a_record_may_have_no_md5() -> None:
    """Those of a figshare article: see ENTRIES."""
    files = [{"key": "link", "size": 0, "checksum": ""}, {"key": "c.txt", "size": 1, "checksum": f"md5:{MD5}"}]
    with serve(ZENODO) as server:
        server.faults.append(faults.answer(Reply(200, {}, Content(json.dumps({"files": files}).encode()))))
        assert describe(server, C_TXT)[0].md5 == MD5


def test_a_file_of_a_figshare_collection_is_found_and_fetched(fetch: Fetch) -> None:
    url = "https://ndownloader.figshare.com/files/9"
    with serve(figshare() | {url: b"PK"}) as server:
        assert describe(server, FILE) == [File(path="One.zip", url=url, size_bytes=2, md5=MD5)]
        assert [request.query for request in server.requests] == ["page_size=1000"] * 2
        assert read_all(fetch(server, make_set((FILE,)))) == {"One.zip": b"PK"}
        server.requests.clear()
        fetch(server, make_set((FILE,)))
        assert not server.requests, "present files are not requested"
        Path("data/raw/toy_set/files/One.zip").unlink()
        server.faults.append(faults.change(b"XX").on("*amazonaws*"))
        with pytest.raises(ChecksumError, match=f"expected {MD5}"):
            fetch(server, make_set((FILE,)))


SIBLING = {"rfilename": "train.json", "size": 5}
FORM = "an answer of another form than expected"
INVALID: list[tuple[dict[str, bytes | Path], File, object, str]] = [
    (SITE, FILES[0], b"<!DOCTYPE html>", FORM),
    (SITE, FILES[0], b"[" * 100_000, FORM),
    (SITE, FILES[0], {"siblings": [SIBLING | {"size": "5"}]}, FORM),
    (SITE, FILES[0], {"siblings": [SIBLING | {"lfs": {"sha256": "../x"}}]}, FORM),
    (SITE, FILES[0], {"siblings": []}, r"^train\.json: 0 files or articles match https.*, which has nothing"),
    (ZENODO, C_TXT, {"files": [{"key": "c.txt", "checksum": f"md5:{MD5}", "size": 0}]}, FORM),
    (ZENODO, C_TXT, {"files": []}, r"^c\.txt: 0 files or articles match"),
    (ZENODO, C_TXT.model_copy(update={"size_bytes": 2}), None, "its host states size_bytes 1, the card 2; correct"),
    (figshare(ARTICLES[:1]), FILE, None, "0 files or articles match .*#One/.*, which has 'Two: more'"),
    (figshare([*ARTICLES, {"id": 4, "title": "One more"}]), FILE, None, "2 files or articles match"),
    (figshare([{"title": "One", "id": "3/../4"}]), FILE, None, FORM),
    (figshare(entries=ENTRIES[:1]), FILE, None, "0 files or articles match .*#One/.*, which has 'link only'"),
    (figshare(entries=[ENTRIES[1] | {"computed_md5": None}]), FILE, None, FORM),
]


@pytest.mark.parametrize(("site", "file", "document", "message"), INVALID)
def test_an_invalid_answer_is_one_line(
    site: dict[str, bytes | Path], file: File, document: object, message: str
) -> None:
    with serve(site) as server:
        if document is not None:
            data = document if isinstance(document, bytes) else json.dumps(document).encode()
            server.faults.append(faults.answer(Reply(200, {}, Content(data))))
        with pytest.raises(AcquisitionError, match=message) as error:
            describe(server, file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("site", "file"), [(SITE, FILES[0]), (ZENODO, C_TXT), (figshare(), FILE)])
def test_an_outage_may_pass(site: dict[str, bytes | Path], file: File) -> None:
    outage = [faults.status(503).on("*/*api*"), faults.status(503).on("api.*")]
    with serve(site, outage) as server, pytest.raises(TemporaryError, match="answers 503"):
        describe(server, file)
    with pytest.raises(TemporaryError, match="no connection"):
        describe(server, file)
