"""What the hub says before a file is fetched, and all the ways in which it does not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from openmedq.config import Execution
from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError, ChecksumError, PassingError
from openmedq.fetch import ledger
from openmedq.fetch.client import Client, NotNowError
from openmedq.fetch.hosts import hub
from tests.fetch.conftest import Fetch, make_set, read_all
from tests.servers import Server, faults, serve
from tests.servers.exchange import send_json

ROOT = Path(__file__).parents[2]
REPOSITORY = "BoKelvin/SLAKE"
URL = f"https://huggingface.co/datasets/{REPOSITORY}/resolve/main/"
DATA = {"train.json": b'[{"q": 1}]', "imgs/a b.zip": b"PK" * 9000}
SITE = {f"{URL}train.json": DATA["train.json"], f"{URL}imgs/a%20b.zip": DATA["imgs/a b.zip"]}
FILES = (File(path="train.json", url=f"{URL}train.json"), File(path="imgs/a b.zip", url=f"{URL}imgs/a%20b.zip"))


def describe(server: Server, *files: File) -> list[File]:
    async def ask() -> list[File]:
        async with Client(Execution(endpoints=server.endpoints)) as client:
            return await hub.describe(client, files)

    return asyncio.run(ask())


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
        assert not server.asked("*/revision/main"), "the commit is known"


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


def test_a_token_goes_to_no_hub_that_others_can_listen_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(hub, "is_private", lambda url: False)
    with serve(SITE) as server:
        describe(server, *FILES)
        assert server.requests
        assert not any("Authorization" in request.headers for request in server.requests)


def test_a_page_of_a_list_that_lies_elsewhere_is_asked_for_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve(SITE) as server, serve({}) as other:
        page = faults.Fault(after=lambda request, reply, _: send_json([], Link=f'<{other.hub}/api/more>; rel="next"'))
        server.faults.append(page.on("*/tree/*"))
        with pytest.raises((NotNowError, AcquisitionError)):
            describe(server, *FILES)
        assert {request.headers.get("Authorization") for request in server.requests} == {"Bearer hf_secret"}
        assert other.requests
        assert not any("Authorization" in request.headers for request in other.requests)


def test_a_list_without_end_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MAX_ENTRIES", 100)
    entry = {"type": "file", "oid": "0", "size": 1, "path": "more.zip"}
    with serve(SITE) as server:
        link = {"Link": f'<{server.hub}/api/datasets/{REPOSITORY}/tree/{"a" * 40}?cursor=b>; rel="next"'}
        server.faults.append(faults.Fault(after=lambda *_: send_json([entry] * 30, **link)).on("*/tree/*"))
        with pytest.raises(AcquisitionError, match="lists more than 100 files"):
            describe(server, *FILES)
        assert len(server.asked("*/tree/*")) == 4


def test_an_answer_that_drips_is_given_up(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "NUM_TIMEOUTS", 0.05)
    with serve(SITE, [faults.slow(100).on("*/api/*")]) as server:
        with pytest.raises(PassingError, match=r"^toy_set: huggingface\.co gives no whole answer in time"):
            fetch(server, make_set(FILES))
        server.faults.clear()
        assert read_all(fetch(server, make_set(FILES))) == DATA


INTERRUPTED = """
import asyncio, os, signal, time
from openmedq.fetch.hosts import hub

def ask():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(3600)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it otherwise
try:
    asyncio.run(hub._in_time(3600, ask))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_does_not_wait_for_the_answer() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


@pytest.mark.parametrize(
    "stated",
    [{"size": "500"}, {"size": None}, {"size": 5, "lfs": {"oid": "../x", "size": 5, "pointerSize": 1}}],
)
def test_sizes_and_hashes_that_are_none_are_one_line(stated: dict[str, Any]) -> None:
    told = [{"type": "file", "oid": "0", "path": "train.json", **stated}]
    strange = faults.Fault(after=lambda request, reply, other: send_json(told))
    with (
        serve(SITE, [strange.on("*/tree/*")]) as server,
        pytest.raises(
            AcquisitionError, match=r"^train\.json: huggingface\.co states no size of it, or no sha256; look"
        ),
    ):
        describe(server, FILES[0])


def test_a_commit_that_is_none_is_no_answer() -> None:
    strange = faults.Fault(after=lambda request, reply, other: send_json({"id": REPOSITORY, "sha": "../other"}))
    with serve(SITE, [strange.on("*/api/*")]) as server, pytest.raises(NotNowError, match="its commit is none"):
        describe(server, FILES[0])


def test_a_hub_says_when_to_come_again() -> None:
    with serve(SITE, [faults.status(429, retry_after=7).on("*/api/*")]) as server, pytest.raises(NotNowError) as error:
        describe(server, FILES[0])
    assert error.value.wait_s == 7
