"""What the hub says before a file is fetched, and all the ways in which it does not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from openmedq.acquire import hub, ledger
from openmedq.acquire.client import NotNowError
from openmedq.cards import File
from openmedq.errors import AcquisitionError, ChecksumError, PassingError
from tests.acquire.conftest import Fetch, make_set, read_all
from tests.servers import Server, faults, serve

REPOSITORY = "BoKelvin/SLAKE"
URL = f"https://huggingface.co/datasets/{REPOSITORY}/resolve/main/"
DATA = {"train.json": b'[{"q": 1}]', "imgs/a b.zip": b"PK" * 9000}
SITE = {f"{URL}train.json": DATA["train.json"], f"{URL}imgs/a%20b.zip": DATA["imgs/a b.zip"]}
FILES = (File(path="train.json", url=f"{URL}train.json"), File(path="imgs/a b.zip", url=f"{URL}imgs/a%20b.zip"))


def describe(server: Server, *files: File) -> list[File]:
    return hub.describe(files, server.hub)


def test_commit_size_and_hash_are_the_hubs() -> None:
    with serve(SITE) as server:
        text, archive = describe(server, *FILES)
    place = hub.locate(archive)
    assert place is not None
    assert hub.COMMIT.fullmatch(place[1])
    assert hub.is_pinned(text)
    assert archive.size_bytes == 18_000
    assert archive.sha256 == hashlib.sha256(DATA["imgs/a b.zip"]).hexdigest()
    assert (text.size_bytes, text.sha256) == (10, None), "git keeps it itself: the hub states no sha256"


def test_files_come_and_the_ledger_keeps_the_commit(fetch: Fetch) -> None:
    with serve(SITE) as server:
        assert read_all(fetch(server, make_set(FILES))) == DATA
        assert not any("main" in request.path for request in server.asked("*/resolve/*"))
        entries = ledger.read("toy_set")
        commits = {place[1] for entry in entries.values() if (place := hub.locate(File(path="", url=entry.url)))}
        assert len(commits) == 1
        Path("data/raw/toy_set/files/train.json").unlink()
        server.requests.clear()
        fetch(server, make_set(FILES))
        assert not server.asked("*/api/datasets/*/revision/*"), "the commit is known"


def test_what_someone_put_there_is_held_to_what_the_hub_states(fetch: Fetch) -> None:
    """Before the ledger takes it for what was found at the first download."""
    archive = Path("data/raw/toy_set/files/imgs/a b.zip")
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"PX" * 9000)
    with serve(SITE) as server:
        assert read_all(fetch(server, make_set(FILES))) == DATA
        entries = ledger.read("toy_set")
        Path("data/ledger/toy_set.yaml").unlink()
        server.requests.clear()
        fetch(server, make_set(FILES))
        assert not server.asked("*/resolve/*"), "they are right, and stay"
        assert ledger.read("toy_set") == entries, "the commit included"


def test_bytes_that_are_not_the_hubs_are_refused(fetch: Fetch) -> None:
    with serve(SITE, [faults.corrupt(3).on("*hf.co/*")]) as server, pytest.raises(ChecksumError, match="promised is"):
        fetch(server, make_set(FILES))


def test_a_pin_that_the_hub_contradicts_is_told_before_a_byte_comes(fetch: Fetch) -> None:
    pinned = (FILES[1].model_copy(update={"sha256": "0" * 64}),)
    with serve(SITE) as server:
        with pytest.raises(
            AcquisitionError, match=r"^imgs/a b\.zip: huggingface\.co states sha256 \w+, the card 0+; correct"
        ):
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


@pytest.mark.parametrize(
    ("token", "told"),
    [(None, "answers 401 Unauthorized; set HF_TOKEN, or run `hf auth login`"), ("hf_wrong", "may lack the access")],
)
def test_a_gate_is_told(
    fetch: Fetch,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    token: str | None,
    told: str,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with serve(SITE, gated={REPOSITORY: "hf_secret"}) as server, pytest.raises(AcquisitionError, match=told) as error:
        fetch(server, make_set(FILES))
    assert "hf_wrong" not in str(error.value) + "".join(capsys.readouterr())


def test_a_file_that_is_not_there_is_told_with_what_is() -> None:
    missing = File(path="test.json", url=f"{URL}test.json")
    told = r"^test\.json: not in BoKelvin/SLAKE .*which holds imgs/a b\.zip, train"
    with serve(SITE) as server, pytest.raises(AcquisitionError, match=told):
        describe(server, missing)


@pytest.mark.parametrize("fault", [faults.html(), faults.challenge(), faults.status(401)])
def test_an_answer_that_is_none_is_one_of_our_errors(fault: faults.Fault) -> None:
    with serve(SITE, [fault.on("*/api/*", method="*")]) as server, pytest.raises((NotNowError, AcquisitionError)):
        describe(server, *FILES)


def test_a_hub_that_is_down_passes(fetch: Fetch) -> None:
    with serve(SITE) as server:
        pass
    with pytest.raises(PassingError, match=r"^toy_set: huggingface\.co can't be reached \(ConnectError\)"):
        fetch(server, make_set(FILES), attempts=2)
