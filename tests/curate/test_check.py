import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from openmedq.cli import main
from openmedq.config import Normalize
from openmedq.curate import check
from openmedq.datasets import registry
from openmedq.datasets.card import Access
from openmedq.errors import ParamsError, SourceError
from openmedq.reporting import sample
from openmedq.schema import Rejected, Sample, Turn
from tests.stages import toyset


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "load", lambda _: toyset.make_set())
    (tmp_path / "raw").mkdir()
    toyset.miniature(tmp_path / "raw")
    return tmp_path / "raw"


def test_a_folder_is_summarized_and_nothing_is_written(raw: Path) -> None:
    before = sorted(raw.parent.rglob("*"))
    summary = check.check("toy_set", raw)
    assert sorted(raw.parent.rglob("*")) == before
    assert json.loads(check.as_json(summary)) == {
        "source": "toy_set",
        "splits": {"test": 1, "train": 3},
        "rejected": {"field missing": 1, "image unreadable": 1},
        "num_images": 3,
        "examples": {
            "field missing": {
                "id": "toy_set/4",
                "file": "questions.json",
                "record": "4",
                "detail": "field `picture`",
                "searched": str(raw),
            },
            "image unreadable": {
                "id": "toy_set/3",
                "file": "questions.json",
                "record": "3",
                "detail": "broken.png: none of JPEG, PNG, GIF, TIFF, BMP, WEBP, JPEG2000",
                "searched": str(raw),
            },
        },
    }
    (first,) = summary.first
    assert first.id == "toy_set/0"
    lines = check.render(summary).splitlines()
    assert lines[0] == "toy_set: 4 rows, 3 distinct images"
    assert {"  train: 3", "  test: 1", "  rejected, image unreadable: 1", "  Q: Where?", "  A: left"} <= set(lines)


def test_control_characters_do_not_reach_the_terminal(raw: Path) -> None:
    summary = check.check("toy_set", raw)
    hostile = replace(summary.first[0], turns=(Turn("\x1b]0;title\x07 Where?", "\x1b[31mleft"),))
    printed = io.StringIO()
    print(check.render(replace(summary, first=(hostile,))), file=printed)
    record = sample.Record(hostile.id, toyset.make_set().card, "In the mix", True, hostile, (("images", "\x1b[2J"),))
    sample.show(Console(file=printed), record, None, None)
    assert printed.getvalue().count("left") == 2 and "\x1b" not in printed.getvalue()


def test_rejections_alone_are_recognised(raw: Path) -> None:
    for picture in raw.glob("*.png"):
        picture.unlink()
    summary = check.check("toy_set", raw)
    assert (summary.counts.splits, summary.first) == ({}, ())
    assert summary.counts.rejected == {"field missing": 1, "image missing": 5}
    example = f"  rejected, image missing: 5\n    such as toy_set/0 ({raw}/questions.json, 0): "
    assert check.render(summary).partition(example)[2].splitlines()[0].endswith(f"; looked in {raw}")


def test_a_wrong_folder_is_one_line(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"nowhere: no such folder; set --raw to the folder with the published files"):
        check.check("toy_set", raw / "nowhere")

    def read(_: Path) -> Iterator[Sample]:
        return iter(())

    monkeypatch.setattr(registry, "load", lambda _: toyset.make_set(read))
    with pytest.raises(SourceError, match=r"raw: no record of toy_set found"):
        check.check("toy_set", raw)


def test_a_credentialed_set_shows_no_sample(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = toyset.CARD.model_copy(update={"access": Access.CREDENTIALED})
    monkeypatch.setattr(registry, "load", lambda _: toyset.make_set(card=card))
    summary = check.check("toy_set", raw)
    for text in (check.render(summary), check.as_json(summary)):
        assert "image unreadable" in text
        assert not any(told in text for told in ("Where?", "toy_set/", "questions.json", ".png"))


def test_settings_reach_the_reader(
    raw: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken: list[object] = []

    def read(
        raw: Path, languages: tuple[str, ...] = ("en",), allow_unofficial: bool = False
    ) -> Iterator[Sample | Rejected]:
        taken.extend((languages, allow_unofficial))
        return toyset.read(raw)

    monkeypatch.setattr(registry, "load", lambda _: toyset.make_set(read))
    assert main(["check", "toy_set", "--raw", str(raw)]) == 0
    assert main(["check", "toy_set", "--raw", str(raw), "--languages", "en, zh", "--allow-unofficial", "--json"]) == 0
    assert taken == [("en",), False, ("en", "zh"), True]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["source"] == "toy_set"


def test_settings_have_the_defaults_of_normalize() -> None:
    assert check.reader_settings() == Normalize()
    assert check.reader_settings("zh") == Normalize(languages=("zh",))
    with pytest.raises(ParamsError, match=r"^--languages: no language given; there are en, zh, separated"):
        check.reader_settings(" ,")
    with pytest.raises(ParamsError, match=r"^--languages: no language 'english'; there are en, zh, separated"):
        check.reader_settings("en,english")
