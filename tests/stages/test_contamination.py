"""What training rows share with evaluation rows: near texts, names, decisions of persons, and their counts."""

import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from openmedq import paths
from openmedq.curate import collect
from openmedq.curate.near_images import Copy
from openmedq.curate.reasons import PAIR_SCHEMA, PAIR_TABLE, Tier
from openmedq.errors import ParamsError
from openmedq.storage.shards import Group
from openmedq.storage.tables import read_clean, read_table
from tests.curate.corpus import Row, picture, row, write_sets

from .test_deduplicate import CARDS, EXPECTED, make_rows, run_stage

pytestmark = pytest.mark.usefixtures("empty_folder")

LONG = "A 45-year-old man with asthma comes to the clinic with a painless mass of the neck for 3 weeks."
ASK = "What is the most likely diagnosis?"


def _ask(row_id: str, split: str, question: str, *pictures: Row, answer: str = "Thyroid carcinoma", **more: Any) -> Row:
    return row(row_id, split, question, answer, *pictures, **more)


def test_near_texts_are_in_evaluation() -> None:
    """Without images by the text alone, with images only if those are the same too."""
    write_sets(
        [
            _ask("text/1", "test", f"{LONG} {ASK}", options=["Thyroid carcinoma", "Lymphoma"]),
            _ask("text/2", "train", f"7. {LONG} {ASK} A) Lymphoma B) Thyroid carcinoma"),
            _ask("text/3", "train", f"{LONG.replace('45', '54')} {ASK}"),
            _ask("text/4", "train", f"{LONG} {ASK}", answer="Lymphoma"),
            _ask("b_first/1", "test", "What is the largest organ in the image?", picture(1), answer="Liver"),
            _ask("b_first/2", "train", "Which is the largest organ in this picture?", picture(1), answer="liver"),
            _ask("b_first/3", "train", "Which is the largest organ in this picture?", picture(2), answer="liver"),
            _ask("b_first/4", "train", "Which organ is on the left?", picture(1), answer="liver"),
        ],
        CARDS,
    )
    assert run_stage() == {"text/2": ("text/1", "in evaluation"), "b_first/2": ("b_first/1", "in evaluation")}
    table = pq.read_table(paths.VERDICTS / "verdicts.parquet")
    assert table["tier"].to_pylist() == ["near text"] * 2
    assert all(0.4 < share <= 1 for share in table["evidence"].to_pylist())
    assert {each["id"]: each["reason"] for each in read_clean().to_pylist()} == {
        "b_first/1": "same pixels",  # b_first/4
        "text/1": None,
    }


GROUPS: dict[str, str | None] = dict.fromkeys(("patient", "study", "article", "case", "question"))


def _name(image: Row, name: str) -> Row:
    return {**image, "image_id": name}


def test_names_that_datasets_share() -> None:
    """A figure of an article, an image of MedPix, and a linked question; patients and articles are counted only."""

    def figure(row_id: str, split: str, seed: int, article: str, name: str) -> Row:
        attributes = [{"name": "figure", "value": name}]
        return _ask(row_id, split, "Which?", picture(seed), attributes=attributes, groups=GROUPS | {"article": article})

    def linked(row_id: str, split: str, question: str, image: Row) -> Row:
        return _ask(row_id, split, question, image, groups=GROUPS | {"question": "x1", "patient": "7"})

    rows = [
        figure("pmc_vqa/1", "test", 1, "PMC1", "F2"),
        figure("pmc_oa/1", "train", 2, "PMC1", "pbio-0030085-g002"),
        figure("pmc_oa/2", "train", 3, "PMC1", "Fig3"),
        figure("pmc_oa/3", "train", 4, "PMC2", "F2"),
        linked("vqa_rad/1", "test", "Is it there?", _name(picture(5), "synpic1.jpg")),
        linked("vqa_rad/2", "train", "Can it be seen?", _name(picture(6), "synpic2.jpg")),
        _ask("vqa_med_2019/1", "train", "Which plane?", _name(picture(7), "SYNPIC1.JPG")),
        _ask("vqa_med_2019/2", "train", "Which plane?", _name(picture(8), "synpic10.jpg")),
        _ask("slake/1", "train", "Which plane?", _name(picture(9), "synpic1.jpg")),
    ]
    write_sets(rows, {name: {} for name in ("pmc_oa", "pmc_vqa", "vqa_rad", "vqa_med_2019", "slake")})
    crossing = {
        "pmc_oa/1": ("pmc_vqa/1", "evaluation image"),
        "vqa_med_2019/1": ("vqa_rad/1", "evaluation image"),
    }
    assert run_stage() == crossing
    assert {each["id"]: each["reason"] for each in read_clean().to_pylist()} == {
        "pmc_vqa/1": None,
        "vqa_rad/1": "same question",
    }
    assert json.loads((paths.VERDICTS / "contamination.json").read_text()) == {
        "pmc_oa": {
            "pmc_vqa": {
                "same figure": {"training_rows": 1, "kept": 0, "evaluation_rows": 1},
                "same article": {"training_rows": 1, "kept": 1, "evaluation_rows": 0},
            }
        },
        "vqa_rad": {"vqa_rad": {"same question": {"training_rows": 1, "kept": 1, "evaluation_rows": 1}}},
        "vqa_med_2019": {"vqa_rad": {"same name": {"training_rows": 1, "kept": 0, "evaluation_rows": 1}}},
    }
    assert run_stage(deduplicate={"keep_out": "all"}) == {**crossing, "vqa_rad/2": ("vqa_rad/1", "evaluation image")}


def test_near_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edited copy excludes a row as its original does; an image of the same series is counted only."""
    rows = [
        _ask("b_first/1", "test", "Which plane?", picture(1)),
        _ask("b_first/2", "train", "Is it large?", picture(2)),
        _ask("a_second/1", "train", "Is it large?", picture(2)),
        _ask("a_second/2", "train", "Which plane?", picture(3)),
        _ask("a_second/3", "train", "Is it small?", picture(4)),
        _ask("text/1", "train", "Is it dense?", picture(2, flip_bits=1)),  # looks like a copy, was not verified
    ]
    write_sets(rows, CARDS)
    found = []

    def find_copies(samples: Path, evaluation: Iterable[Group], training: Iterable[Group], _: object) -> list[Copy]:
        assert samples == paths.SAMPLES
        found.extend([[group.rows["id"].to_pylist() for group in groups] for groups in (evaluation, training)])
        first, *others = (picture(seed)["pixels_sha256"] for seed in range(1, 5))
        likeness = ((Tier.NEAR_IMAGE, 0.9), (Tier.NEAR_IMAGE, 0.8), (Tier.SAME_SERIES, 0.7))
        return [Copy(first, other, *each) for other, each in zip(others, likeness, strict=True)]

    monkeypatch.setattr(collect, "find_copies", find_copies)
    assert run_stage() == {
        "a_second/1": ("b_first/1", "evaluation image"),
        "a_second/2": ("b_first/1", "in evaluation"),
    }
    assert [[*chain(*ids)] for ids in found] == [["b_first/1"], [each["id"] for each in rows[1:]]]
    table = pq.read_table(paths.VERDICTS / "verdicts.parquet")
    assert table["tier"].to_pylist() == ["near image"] * 2
    assert table["evidence"].to_pylist() == pytest.approx([0.9, 0.8])
    assert read_clean().to_pylist() == [{"id": "b_first/1", "reason": "near image"}]
    counts = json.loads((paths.VERDICTS / "contamination.json").read_text())
    assert counts["a_second"]["b_first"]["same series"] == {"training_rows": 1, "kept": 1, "evaluation_rows": 0}
    assert read_table(PAIR_TABLE, PAIR_SCHEMA).to_pylist() == [
        {
            "training_id": row_id,
            "evaluation_id": "b_first/1",
            "tier": tier,
            "evidence": pytest.approx(share),
            "is_kept": is_kept,
        }
        for row_id, tier, share, is_kept in (
            ("a_second/2", "near image", 0.8, False),
            ("b_first/2", "near image", 0.9, True),
            ("a_second/1", "near image", 0.9, False),
            ("a_second/3", "same series", 0.7, True),
        )
    ]
    exact = {"a_second/1": ("b_first/2", "duplicate exact")}
    assert run_stage(deduplicate={"near_images": False}) == exact


def test_decisions_of_persons() -> None:
    write_sets(make_rows(), CARDS)
    lines = ["id_a,id_b,decision", "b_first/5,a_second/2,different", "text/4, b_first/4, copy", ""]
    Path("own.csv").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    changed = {"text/4": ("a_second/4", "duplicate perceptual"), "text/5": ("a_second/4", "duplicate perceptual")}
    expected = {name: each for name, each in EXPECTED.items() if name != "a_second/2"} | changed
    assert run_stage(deduplicate={"overrides": "own.csv"}) == expected


@pytest.mark.parametrize(
    ("decision", "reason"),
    [
        ("text/9,text/4,copy", "no row that takes part has the id in id_a"),
        ("text/4,text/6,copy", "no row that takes part has the id in id_b"),
        ("text/3,b_first/5,copy", "evaluation rows, as both are, are always kept"),
    ],
)
def test_decisions_without_effect_are_ignored(decision: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    write_sets([*make_rows(), row("text/6", "train", "Why?", "so", licence="CC-BY-NC-4.0")], CARDS)
    Path("own.csv").write_text(f"id_a,id_b,decision\n{decision}\n", encoding="utf-8")
    assert run_stage(deduplicate={"overrides": "own.csv"}, policy={"licences": "commercial"}) == EXPECTED
    assert f"own.csv: line 2 is ignored: {reason}" in caplog.text


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, r"deduplicate.overrides: own.csv is not a file; create it with the line id_a,id_b,decision"),
        ("", "own.csv: the first line must be id_a,id_b,decision"),
        ("id_a,id_b,decision\ntext/1,text/1,copy\n", "own.csv: line 2: expected two different ids, then copy or"),
        ("id_a,id_b,decision\na/1,a/2,copy\na/2,a/1,different\n", "own.csv: line 3: contradicts line 2; remove one"),
        ("id_a,id_b,decision\na_ü,b,copy\n".encode("latin-1"), "own.csv: is not CSV in UTF-8"),
    ],
)
def test_damaged_decisions_of_persons(text: str | bytes | None, error: str) -> None:
    write_sets(make_rows(), CARDS)
    if text is not None:
        Path("own.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ParamsError, match=error):
        run_stage(deduplicate={"overrides": "own.csv"})
    assert not paths.VERDICTS.exists()
