"""`download` records where the files lie, holds them to what the card pins, and copies nothing."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from openmedq import discovery, layout
from openmedq.cards import File
from openmedq.errors import ChecksumError, MirrorError, ParamsError, StaleError
from openmedq.stages import download, survey
from tests.quality.corpus import make_params

from . import toyset

pytestmark = pytest.mark.usefixtures("toy")


def _run(mirror: str = "mirror", require: tuple[str, ...] = (), skip: tuple[str, ...] = ()) -> Any:
    params = make_params(download={"mirror": mirror, "require": require, "skip": skip})
    survey.run(params)
    download.run(params, "toy_set")
    return json.loads((layout.RAW / "toy_set" / "origin.json").read_text())


@pytest.fixture
def mirror() -> Path:
    folder = Path("mirror/toy_set")
    folder.mkdir(parents=True)
    toyset.miniature(folder)
    return folder


def _pin(monkeypatch: pytest.MonkeyPatch, **pins: Any) -> None:
    pinned = File(path="questions.json", url="https://example.org/toy/questions.json", **pins)
    card = toyset.CARD.model_copy(update={"files": (pinned,)})
    monkeypatch.setattr(discovery, "find", lambda _: toyset.make_set(card=card))
    toyset.write_catalogue(card)


def test_files_are_recorded_and_not_copied(mirror: Path) -> None:
    (layout.RAW / "toy_set").mkdir(parents=True)  # the output persists
    (layout.RAW / "toy_set" / "left over").touch()
    origin = _run()
    assert origin == json.loads((layout.SURVEY / "toy_set.json").read_text())
    assert [path.name for path in (layout.RAW / "toy_set").iterdir()] == ["origin.json"]
    assert origin["folder"] == str(mirror)


def test_an_absent_set_is_recorded_as_absent_unless_it_is_required() -> None:
    other = toyset.CARD.model_copy(update={"id": "other", "title": "Other"})
    toyset.write_catalogue(toyset.CARD, other)
    Path("mirror/other").mkdir(parents=True)
    Path("mirror/other/a").touch()
    absent = {"state": "absent", "reason": "not in mirror; put its files into a folder toy_set there"}
    assert _run() == absent
    assert _run(require=("other",)) == absent
    with pytest.raises(MirrorError, match=r"^toy_set: absent, though download\.require names it: not in mirror; put"):
        _run(require=("toy_set",))


def test_an_unknown_set_cant_be_required(mirror: Path) -> None:
    with pytest.raises(ParamsError, match=r"^download\.require: no set 'toy'; there are toy_set$"):
        _run(require=("toy",))
    with pytest.raises(ParamsError, match=r"^download\.skip: no set 'toy'; there are toy_set$"):
        _run(skip=("toy",))


def test_a_set_can_be_left_out(mirror: Path) -> None:
    assert _run()["state"] == "present"
    assert _run(skip=("toy_set",)) == {"state": "absent", "reason": "download.skip names it"}
    with pytest.raises(MirrorError, match=r"absent, though download\.require names it: download\.skip names it"):
        _run(require=("toy_set",), skip=("toy_set",))


def test_pinned_hashes_hold(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (mirror / "questions.json").read_bytes()
    _pin(monkeypatch, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    assert _run()["state"] == "present"
    (mirror / "questions.json").write_bytes(data[:-1] + b" ")
    with pytest.raises(
        ChecksumError, match=r"^mirror/toy_set/questions\.json: sha256 is \w+, the card says \w+; fetch"
    ):
        _run()
    (mirror / "questions.json").write_bytes(data[:-1])
    with pytest.raises(ChecksumError, match=r"^mirror/toy_set/questions\.json: size_bytes is \d+, the card says \d+"):
        _run()


def test_a_miniature_is_not_held_to_published_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    _pin(monkeypatch, sha256="00")
    folder = layout.MINIATURE / "toy_set"
    folder.mkdir(parents=True)
    toyset.miniature(folder)
    assert _run("data/miniature")["origin"] == "miniature"


def test_a_stale_catalogue_is_refused(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run()
    monkeypatch.setattr(
        discovery, "find", lambda _: toyset.make_set(card=toyset.CARD.model_copy(update={"title": "New"}))
    )
    with pytest.raises(StaleError, match=r"toy_set differs from its card"):
        _run()
