from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openmedq import paths
from openmedq.cli import main
from openmedq.config.render import render
from openmedq.datasets import registry
from openmedq.datasets.card import Access
from openmedq.schema import Rejected, Sample
from tests.curate.corpus import make_params
from tests.stages import toyset

FORMATS = "JPEG, PNG, GIF, TIFF, BMP, WEBP, JPEG2000"
HOSTILE = "\x1b]0;title\x07 \x1b[31mWhere?"

Check = Callable[[Path], list[str]]


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "load", lambda _: toyset.make_set())
    (tmp_path / "raw").mkdir()
    toyset.miniature(tmp_path / "raw")
    return tmp_path / "raw"


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    """The lines that the command prints; the last states the time."""

    def run(raw: Path) -> list[str]:
        code = main(["check", "toy_set", "--raw", str(raw)])
        printed = capsys.readouterr()
        return [printed.err.splitlines()[-1]] if code else printed.out.splitlines()[:-1]

    return run


def test_a_folder_is_summarized_and_nothing_is_written(raw: Path, check: Check) -> None:
    before = sorted(raw.parent.rglob("*"))
    lines = check(raw)
    assert sorted(raw.parent.rglob("*")) == before
    assert lines[:11] == [
        "toy_set: 4 rows, 3 distinct images",
        "  test: 1",
        "  train: 3",
        "  rejected, field missing: 1",
        f"    such as toy_set/4 ({raw}/questions.json, 4): field `picture`",
        "  rejected, image unreadable: 1",
        f"    such as toy_set/3 ({raw}/questions.json, 3): broken.png: none of {FORMATS}",
        "first: toy_set/0 (questions.json, 0), split train",
        "  Q: Where?",
        "  A: left",
        "  image: a.png, 24 x 24 px",
    ]
    assert sum(line.startswith("first: ") for line in lines) == 3


def test_control_characters_do_not_reach_the_terminal(raw: Path, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = toyset.make_sample("0", question=HOSTILE)
    monkeypatch.setattr(registry, "load", lambda _: toyset.make_set(lambda _: iter([hostile])))
    printed = "\n".join(check(raw))
    assert "Where?" in printed and "\x1b" not in printed


def test_rejections_alone_are_recognised(raw: Path, check: Check) -> None:
    for picture in raw.glob("*.png"):
        picture.unlink()
    lines = check(raw)
    assert lines[:2] == ["toy_set: 0 rows, 0 distinct images", "  rejected, field missing: 1"]
    assert lines[3] == "  rejected, image missing: 5"
    assert lines[4].startswith(f"    such as toy_set/0 ({raw}/questions.json, 0): ")
    assert lines[4].endswith(f"; looked in {raw}")


def test_a_wrong_folder_is_one_line(raw: Path, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nowhere: no such folder; set --raw to the folder with the published files" in check(raw / "nowhere")[0]
    monkeypatch.setattr(registry, "load", lambda _: toyset.make_set(lambda _: iter(())))
    assert "raw: no record of toy_set found" in check(raw)[0]


def test_a_credentialed_set_shows_no_sample(raw: Path, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    card = toyset.CARD.model_copy(update={"access": Access.CREDENTIALED})
    monkeypatch.setattr(registry, "load", lambda _: toyset.make_set(card=card))
    text = "\n".join(check(raw))
    assert "image unreadable" in text
    assert not any(told in text for told in ("Where?", "toy_set/", "questions.json", ".png"))


def test_the_settings_of_normalize_reach_the_reader(raw: Path, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[object] = []

    def read(
        raw: Path, languages: tuple[str, ...] = ("en",), allow_unofficial: bool = False
    ) -> Iterator[Sample | Rejected]:
        taken.extend((languages, allow_unofficial))
        return toyset.read(raw)

    monkeypatch.setattr(registry, "load", lambda _: toyset.make_set(read))
    check(raw)
    params = make_params(normalize={"languages": ["en", "zh"], "allow_unofficial": True})
    paths.PARAMS.write_text(render(params))
    check(raw)
    assert taken == [("en",), False, ("en", "zh"), True]
