from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.datasets.medmcqa import card, read
from openmedq.errors import SourceError
from openmedq.model.prompt import respond
from openmedq.schema import Reason, Rejected, Role, Sample, Task
from tests.datasets.conftest import FolderOf, samples

SHARD = "data/{}-00000-of-00001.parquet"
ROW: dict[str, Any] = {
    "id": "7f0a",
    "question": " Which is a bone? ",
    "opa": "Aspirin",
    "opb": "Femur ",
    "opc": "Insulin",
    "opd": "Vibrio",
    "cop": 1,
    "choice_type": "single",
    "exp": "Ans. is 'b' i.e., Femur",
    "subject_name": "Anatomy",
    "topic_name": None,
}
GOOD = ROW | {"id": "99"}
SCHEMA = pa.schema([(name, pa.int64() if name == "cop" else pa.string()) for name in ROW])


def write_shard(raw: Path, rows: list[dict[str, Any]], split: str = "train", schema: pa.Schema = SCHEMA) -> Path:
    (raw / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), raw / SHARD.format(split))
    return raw


def read_shard(raw: Path, split: str = "train", **changes: Any) -> Sample | Rejected:
    """The row of a changed record of Hugging Face's copy."""
    first, _ = read(write_shard(raw, [ROW | changes, GOOD], split))
    return first


def test_a_row_is_kept_whole(tmp_path: Path) -> None:
    row = read_shard(tmp_path)
    assert (row.id, row.split) == ("medmcqa/7f0a", "train")
    (turn,) = row.turns
    assert (turn.question, turn.answer) == ("Which is a bone?", "Femur")
    assert turn.options == ("Aspirin", "Femur", "Insulin", "Vibrio")
    assert row.attributes == {
        "choice_type": "single",
        "explanation": "Ans. is 'b' i.e., Femur",
        "subject_name": "Anatomy",
    }
    assert row.licence == "Apache-2.0"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, Reason.FIELD_MISSING),
        ({"question": None}, Reason.FIELD_MISSING),
        ({"question": " "}, Reason.QUESTION_EMPTY),
        ({"cop": None}, Reason.FIELD_MISSING),
        ({"opb": ""}, Reason.ANSWER_EMPTY),
        ({"cop": -2}, Reason.ANSWER_NOT_AN_OPTION),
        ({"cop": -1}, Reason.ANSWER_WITHHELD),
        ({"id": "99"}, None),
    ],
)
def test_what_can_not_be_represented_is_rejected(
    tmp_path: Path, changes: dict[str, Any], reason: Reason | None
) -> None:
    first, second = read(write_shard(tmp_path, [ROW | changes, GOOD]))
    if reason is None:
        first, reason = second, Reason.ID_REPEATED
    assert isinstance(first, Rejected)
    assert (first.reason, first.split) == (reason, "train" if (changes.get("id", "7") or "").strip() else "")
    assert "Femur" not in first.detail


def test_a_shard_that_counts_from_1_is_refused_whole(tmp_path: Path) -> None:
    rows = [ROW | {"id": str(number), "cop": 1 + number % 3} for number in range(200)]
    for some in ([ROW, GOOD | {"cop": 4}], rows):
        with pytest.raises(SourceError, match=r"train-.*\.parquet: `cop` counts from 1") as error:
            next(read(write_shard(tmp_path, some)))
        assert "\n" not in str(error.value)
    rows[7]["cop"] = 0
    assert len(list(read(write_shard(tmp_path, rows)))) == 200
    withheld = [row | {"cop": -1} for row in rows]
    assert len(list(read(write_shard(tmp_path, withheld)))) == 200


def test_a_cop_that_is_no_number_is_one_line(tmp_path: Path) -> None:
    schema = pa.schema([(name, pa.string()) for name in ROW])
    with pytest.raises(SourceError, match="column `cop` is not an integer but string"):
        next(read(write_shard(tmp_path, [ROW | {"cop": "b"}], schema=schema)))


def test_withheld_answers_are_rejected_one_by_one(tmp_path: Path) -> None:
    for row in (
        read_shard(tmp_path / "1", "test", cop=-1),
        read_shard(tmp_path / "2", "test", cop=None),
        read_shard(tmp_path / "3", "train", cop=-1),
    ):
        assert (row.reason, row.id) == (Reason.ANSWER_WITHHELD, "medmcqa/7f0a")
    assert card.roles["test"] is card.roles["validation"] is Role.EVALUATION


def test_equal_options_are_kept(miniature_of: FolderOf) -> None:
    rows = [
        row
        for row in samples(read(miniature_of("medmcqa")))
        if len(set(row.turns[0].options)) < len(row.turns[0].options)
    ]
    assert len(rows) == 4
    twice = [row.turns[0] for row in rows if row.turns[0].options.count(row.turns[0].answer) == 2]
    assert len(twice) == 2
    for turn in twice:  # the prompt names the first
        assert respond(Task.MULTIPLE_CHOICE, turn) == f"{'ABCD'[turn.options.index(turn.answer)]}. {turn.answer}"
