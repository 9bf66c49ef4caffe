import json
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq
import pytest

from openmedq import paths
from openmedq.curate import deduplicate
from openmedq.errors import ParamsError, StaleError
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_clean
from tests.curate.corpus import ROLES, Row, make_params, picture, row, write_sets

pytestmark = pytest.mark.usefixtures("empty_folder")

CARDS: dict[str, dict[str, Any]] = {"b_first": {}, "a_second": {}, "text": {}, "absent": {}}


def make_rows() -> list[Row]:
    return [
        row("b_first/1", "train", "What organ?", "Lung", picture(1)),
        row("b_first/2", "train", "what ORGAN ?", "lung.", picture(1)),
        row("b_first/3", "train", "What organ?", "Lung", picture(1, flip_bits=2, lighter=2)),
        row("b_first/4", "train", "What organ?", "Lung", picture(3)),  # another image
        row("b_first/5", "test", "Which plane?", "axial", picture(2)),
        row("b_first/6", "train", "Is it large?", "no", picture(2)),  # of the same dataset: kept
        row("a_second/1", "train", "What organ?", "Lung", picture(1)),
        row("a_second/2", "train", "which plane", "axial", picture(2, flip_bits=1)),
        row("a_second/3", "train", "Is it large?", "yes", picture(2)),
        row("a_second/4", "validation", "What organ?", "Lung", picture(3)),
        row("a_second/5", "train", "Which plane?", "axial", picture(2, lighter=40)),  # same hash, other thumbnail
        row("text/1", "train", "Is it safe?", "yes"),
        row("text/2", "train", "is it safe", "Yes"),
        row("text/3", "test", "Is it safe?", "yes."),
        row("text/4", "train", "Is it true?", "yes"),
        row("text/5", "train", "Is it true?", "yes"),
    ]


EXPECTED = {
    "b_first/2": ("b_first/1", "duplicate exact"),
    "b_first/3": ("b_first/1", "duplicate perceptual"),
    "b_first/4": ("a_second/4", "duplicate exact"),
    "a_second/1": ("b_first/1", "duplicate exact"),
    "a_second/2": ("b_first/5", "in evaluation"),
    "a_second/3": ("b_first/5", "evaluation image"),
    "text/1": ("text/3", "in evaluation"),
    "text/2": ("text/3", "in evaluation"),
    "text/5": ("text/4", "duplicate exact"),
}


def run_stage(**sections: Any) -> dict[str, tuple[str, str]]:
    deduplicate.run(make_params(**sections))
    rows = pq.read_table(paths.VERDICTS / "verdicts.parquet").to_pylist()
    return {row["id"]: (row["kept_id"], row["reason"]) for row in rows}


def test_verdicts_and_counts() -> None:
    write_sets(make_rows(), CARDS)
    assert run_stage() == EXPECTED
    assert json.loads((paths.VERDICTS / "counts.json").read_text()) == {
        "b_first": {"duplicate exact": 2, "duplicate perceptual": 1},
        "a_second": {"duplicate exact": 1, "evaluation image": 1, "in evaluation": 1},
        "text": {"duplicate exact": 1, "in evaluation": 2},
        "absent": {},
    }


def test_same_bytes_again_and_for_any_order_of_rows_and_shards_and_any_number_of_workers() -> None:
    rows = make_rows()
    rows.append(row("b_first/7", "test", "Where?", "here", picture(7), picture(8)))
    rows.append(row("b_first/8", "train", "Why?", "so", picture(8, lighter=1), picture(7, lighter=2)))
    write_sets(rows, CARDS)
    run_stage(deduplicate={"keep_out": "all"})
    before = {path.name: path.read_bytes() for path in paths.VERDICTS.iterdir()}
    write_sets(rows[::-1], CARDS, rows_a_shard=3, rows_a_group=1)
    run_stage(deduplicate={"keep_out": "all"}, execution={"workers": 2})
    assert {path.name: path.read_bytes() for path in paths.VERDICTS.iterdir()} == before


def test_a_split_left_out_neither_keeps_nor_loses() -> None:
    write_sets(make_rows(), CARDS)
    found = run_stage(mix={"roles": {"b_first": {"train": None, "test": None}}})
    assert found == {
        "text/1": ("text/3", "in evaluation"),
        "text/2": ("text/3", "in evaluation"),
        "text/5": ("text/4", "duplicate exact"),
    }


def test_bytes_are_read_of_evaluation_images_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless images are candidates for copies, see tests/curate/test_near_images.py."""
    asked: list[str] = []
    read = ShardStore.scan

    def spy(self: ShardStore, columns: Sequence[str]) -> Any:
        asked.extend(self.folder.name for column in columns if column.startswith("images.list.element.image."))
        return read(self, columns)

    monkeypatch.setattr(ShardStore, "scan", spy)
    write_sets(make_rows(), CARDS | {"a_second": {"roles": {"train": "train", "validation": "validation"}}})
    run_stage()
    assert set(asked) == {"b_first", "text", "absent"}, "datasets with an evaluation split"


@pytest.mark.parametrize(
    ("keep_out", "kinds"),
    [
        ("none", {"b_first/5": "same pixels", "b_first/6": "same look", "text/3": None}),
        ("cross_source", {"b_first/5": "same pixels", "b_first/6": None, "text/3": None}),
        ("all", {"b_first/5": None, "b_first/6": None, "text/3": None}),
    ],
)
def test_evaluation_rows_that_training_repeats(keep_out: str, kinds: dict[str, str | None]) -> None:
    """b_first/5 has its image in the training split of its own dataset, and b_first/6 a copy of it in another's."""
    shown = [
        row("b_first/6", "test", "Where?", "here", picture(7)),
        row("b_first/7", "train", "Is it large?", "no", picture(2)),
    ]
    shown += [row("a_second/6", "train", "Why?", "so", picture(7, flip_bits=1))]
    write_sets([*(each for each in make_rows() if each["id"] != "b_first/6"), *shown], CARDS)
    run_stage(deduplicate={"keep_out": keep_out})
    table = read_clean().to_pylist()
    assert {each["id"]: each["reason"] for each in table} == kinds
    assert [each["id"] for each in table] == sorted(kinds)


def test_wrong_roles_and_missing_rows_are_one_line() -> None:
    write_sets(make_rows(), CARDS)
    with pytest.raises(ParamsError, match="an evaluation split cannot be trained on; set it to evaluation, v"):
        run_stage(mix={"roles": {"text": {"test": "train"}}})
    write_sets(make_rows(), {**CARDS, "text": {"roles": {"test": ROLES["test"]}}})
    with pytest.raises(StaleError, match="data/samples/text: split 'train' has no role"):
        run_stage()
    (paths.SAMPLES / "text" / "counts.json").unlink()
    with pytest.raises(StaleError, match="dvc repro normalize@text"):
        run_stage()
    assert not paths.VERDICTS.exists()


def test_rows_that_the_policy_refuses_neither_keep_nor_lose() -> None:
    """b_first/1 is no longer kept over its copies; b_first/5 still is, because it is an evaluation row."""
    own = {"b_first/1": "CC-BY-NC-4.0", "b_first/5": "words"}
    write_sets([{**each, "licence": own.get(each["id"], "CC0-1.0")} for each in make_rows()], CARDS)
    assert run_stage() == EXPECTED, "under `any`"
    found = run_stage(policy={"licences": "commercial"})
    assert found == {
        "b_first/3": ("b_first/2", "duplicate perceptual"),
        "b_first/4": ("a_second/4", "duplicate exact"),
        "a_second/1": ("b_first/2", "duplicate exact"),
        "a_second/2": ("b_first/5", "in evaluation"),
        "a_second/3": ("b_first/5", "evaluation image"),
        "text/1": ("text/3", "in evaluation"),
        "text/2": ("text/3", "in evaluation"),
        "text/5": ("text/4", "duplicate exact"),
    }
