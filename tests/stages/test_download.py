import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openmedq import paths
from openmedq.datasets import registry
from openmedq.datasets.card import File
from openmedq.errors import ChecksumError, LocalFolderError
from openmedq.fetch import download, ledger, manifest
from tests.curate.corpus import make_params

from . import toyset

pytestmark = pytest.mark.usefixtures("toy")


def _run(mirror: str = "mirror", require: tuple[str, ...] = (), skip: tuple[str, ...] = ()) -> Any:
    params = make_params(download={"mirror": mirror, "require": require, "skip": skip})
    manifest.run(params)
    download.run(params, registry.load("toy_set"))
    return json.loads((paths.RAW / "toy_set" / "origin.json").read_text())


def _pin(monkeypatch: pytest.MonkeyPatch, **pins: Any) -> None:
    pinned = File(path="questions.json", url="https://example.org/toy/questions.json", **pins)
    card = toyset.CARD.model_copy(update={"files": (pinned,)})
    monkeypatch.setattr(registry, "load", lambda _: toyset.make_set(card=card))
    toyset.write_catalogue(card)


def test_files_are_recorded_and_not_copied(mirror: Path) -> None:
    (paths.RAW / "toy_set").mkdir(parents=True)  # the output persists
    (paths.RAW / "toy_set" / "left over").touch()
    found = _run()
    assert found == json.loads((paths.MANIFEST / "toy_set.json").read_text())
    assert [path.name for path in (paths.RAW / "toy_set").iterdir()] == ["origin.json"]
    assert found["folder"] == str(mirror)


def test_an_absent_set_is_recorded_as_absent_unless_it_is_required() -> None:
    other = toyset.CARD.model_copy(update={"id": "other", "title": "Other"})
    toyset.write_catalogue(toyset.CARD, other)
    Path("mirror/other").mkdir(parents=True)
    Path("mirror/other/a").touch()
    absent = {"state": "absent", "reason": "not in mirror; put its files into a folder toy_set there"}
    assert _run() == absent
    assert _run(require=("other",)) == absent
    with pytest.raises(LocalFolderError, match=r"^toy_set: absent, but download\.require names it: not in mirror; put"):
        _run(require=("toy_set",))


def test_a_set_can_be_left_out(mirror: Path) -> None:
    assert _run()["state"] == "present"
    assert _run(skip=("toy_set",)) == {"state": "absent", "reason": "download.skip names it"}


def test_pinned_hashes_hold(mirror: Path, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]) -> None:
    data = (mirror / "questions.json").read_bytes()
    _pin(monkeypatch, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    assert _run()["state"] == "present"
    (mirror / "questions.json").write_bytes(data[:-1] + b" ")
    with pytest.raises(
        ChecksumError, match=r"^mirror/toy_set/questions\.json: sha256 is \w+, published is \w+; the file is damaged"
    ):
        _run()
    (mirror / "questions.json").write_bytes(data[:-1])  # a part of it, say
    logged()
    assert _run()["state"] == "present"
    assert (
        logged()
        == "toy_set: questions.json of mirror/toy_set: not as published (a part, another packaging, or damaged)\n"
    )


@pytest.mark.parametrize("name", ["md5", "sha256"])
def test_other_bytes_where_nobody_states_a_size_are_told_and_taken(
    mirror: Path, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str], name: str
) -> None:
    """MedMNIST's reader accepts them if `normalize.allow_unofficial` is true."""
    _pin(monkeypatch, **{name: hashlib.new(name, (mirror / "questions.json").read_bytes()).hexdigest()})
    assert _run()["state"] == "present"
    assert not logged()
    (mirror / "questions.json").write_bytes(b"other")
    assert _run()["state"] == "present"
    assert logged() == (
        "toy_set: questions.json of mirror/toy_set: not as published (a part, another packaging, or damaged)\n"
    )


def test_the_ledger_holds_a_mirror_too(mirror: Path) -> None:
    entry = ledger.Entry("https://example.org/toy/questions.json", "0" * 64, (mirror / "questions.json").stat().st_size)
    ledger.write("toy_set", {"questions.json": entry})
    with pytest.raises(
        ChecksumError, match=r"published is 0{64}; the file is damaged, download it again from https://example"
    ):
        _run()


def test_a_miniature_is_not_held_to_published_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    _pin(monkeypatch, sha256="00")
    folder = paths.MINIATURE / "toy_set"
    folder.mkdir(parents=True)
    toyset.miniature(folder)
    assert _run("data/miniature")["origin"] == "miniature"
