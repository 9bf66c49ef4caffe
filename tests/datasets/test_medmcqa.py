import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.datasets.medmcqa import card, read
from openmedq.errors import SourceError
from openmedq.model.prompt import respond
from openmedq.schema import Reason, Rejected, Role, Sample, Task
from tests.datasets.conftest import FolderOf

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


def write_lines(raw: Path, records: list[Any], name: str = "train.json") -> Path:
    raw.mkdir(parents=True, exist_ok=True)
    (raw / name).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return raw


def read_one(raw: Path, **changes: Any) -> Sample | Rejected:
    """The row of a changed record of the original release; a field that is `...` is omitted."""
    record = {key: value for key, value in (ROW | {"cop": 2} | changes).items() if value is not ...}
    first, second = read(write_lines(raw, [record, GOOD]))
    assert isinstance(second, Sample)
    return first


def read_shard(raw: Path, split: str = "train", **changes: Any) -> Sample | Rejected:
    """The row of a changed record of Hugging Face's copy."""
    first, _ = read(write_shard(raw, [ROW | changes, GOOD], split))
    return first


def convert(raw: Path) -> Path:
    """Convert the Parquet files of a folder to the original release."""
    for split, name in {"train": "train.json", "validation": "dev.json", "test": "test.json"}.items():
        rows = pq.read_table(raw / SHARD.format(split)).to_pylist()
        for row in rows:
            row["cop"] += 1
            if split == "test":
                del row["cop"]
        write_lines(raw, rows, name)
    shutil.rmtree(raw / "data")
    return raw


def samples(raw: Path) -> list[Sample]:
    return [row for row in read(raw) if isinstance(row, Sample)]


def test_a_row_is_kept_whole(tmp_path: Path) -> None:
    for row in (read_shard(tmp_path / "hub"), read_one(tmp_path / "original", unknown=[1])):
        assert isinstance(row, Sample)
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
        *(({name: value}, Reason.FIELD_MISSING) for name in ("id", "question") for value in (..., None, ["a list"])),
        *(({name: ...}, Reason.FIELD_MISSING) for name in ("opa", "opb", "opc", "opd", "cop")),
        ({"opd": ["a list"]}, Reason.FIELD_MISSING),
        ({"cop": None}, Reason.FIELD_MISSING),
        ({"cop": [2]}, Reason.FIELD_MISSING),
        ({"cop": True}, Reason.FIELD_MISSING),
        ({"id": " "}, Reason.FIELD_MISSING),
        ({"question": " "}, Reason.QUESTION_EMPTY),
        ({"opb": ""}, Reason.ANSWER_EMPTY),
        ({"opb": None}, Reason.ANSWER_EMPTY),
        ({"cop": 5}, Reason.ANSWER_NOT_AN_OPTION),
        ({"cop": -2}, Reason.ANSWER_NOT_AN_OPTION),
        ({"cop": 1.5}, Reason.ANSWER_NOT_AN_OPTION),
        ({"cop": "b"}, Reason.ANSWER_NOT_AN_OPTION),
        ({"cop": -1}, Reason.ANSWER_WITHHELD),
        ({"id": "99"}, None),
        ({"question": "\ud800"}, Reason.NOT_UTF8),
        ({"opa": "\ud800"}, Reason.NOT_UTF8),
        ({"exp": "\ud800"}, Reason.NOT_UTF8),
    ],
)
def test_what_can_not_be_represented_is_rejected(
    tmp_path: Path, changes: dict[str, Any], reason: Reason | None
) -> None:
    record = {key: value for key, value in (ROW | {"cop": 2} | changes).items() if value is not ...}
    first, second = read(write_lines(tmp_path, [record, GOOD]))
    if reason is None:
        first, reason = second, Reason.ID_REPEATED
    assert (first.reason, first.split) == (reason, "train")
    assert "Femur" not in first.detail


@pytest.mark.parametrize("cop", [2, 2.0, "2"])
def test_cop_may_be_written_as_pandas_does(tmp_path: Path, cop: Any) -> None:
    row = read_one(tmp_path, cop=cop)
    assert isinstance(row, Sample)
    assert row.turns[0].answer == "Femur"


def test_both_layouts_say_the_same(copy_of: FolderOf) -> None:
    raw = copy_of("medmcqa")
    said = [(row.id, row.split, getattr(row, "turns", None), getattr(row, "attributes", None)) for row in read(raw)]
    assert Counter(split for _, split, *_ in said) == {"train": 80, "validation": 24, "test": 12}
    convert(raw)
    again = list(read(raw))
    assert [(row.id, row.split, getattr(row, "turns", None), getattr(row, "attributes", None)) for row in again][
        :104
    ] == (said[:104])
    assert [row.reason for row in again if isinstance(row, Rejected)] == [Reason.ANSWER_WITHHELD] * 12


def test_lines_that_count_from_0_are_refused_whole(tmp_path: Path) -> None:
    write_lines(tmp_path, [ROW, GOOD | {"cop": 0}])
    with pytest.raises(SourceError, match=r"train\.json: a `cop` is 0: it counts from 0") as error:
        list(read(tmp_path))
    assert "\n" not in str(error.value)


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
        *list(read(write_lines(tmp_path / "4", [{k: v for k, v in ROW.items() if k != "cop"}], "test.json"))),
        *list(read(write_lines(tmp_path / "5", [ROW | {"cop": float("nan")}], "test.json"))),
    ):
        assert (row.reason, row.id) == (Reason.ANSWER_WITHHELD, "medmcqa/7f0a")
    (known,) = read(write_lines(tmp_path / "6", [ROW], "test.json"))
    assert isinstance(known, Sample)
    assert card.roles["test"] is card.roles["validation"] is Role.EVALUATION


@pytest.mark.parametrize("place", ["", "medmcqa_data", "data.zip"])
def test_lines_are_found_unpacked_and_packed(copy_of: FolderOf, place: str) -> None:
    raw = convert(copy_of("medmcqa"))
    expected = [row.id for row in read(raw)]
    names = ["train.json", "dev.json", "test.json"]
    if place.endswith(".zip"):
        with zipfile.ZipFile(raw / place, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.write(raw / name, name)
                (raw / name).unlink()
    elif place:
        (raw / place).mkdir()
        for name in names:
            (raw / name).rename(raw / place / name)
    rows = list(read(raw))
    assert [row.id for row in rows] == expected
    if place.endswith(".zip"):
        assert (rows[0].provenance.file, rows[0].provenance.record) == ("data.zip", "train.json line 1")


def test_of_both_layouts_the_parquet_files_are_read(
    copy_of: FolderOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = copy_of("medmcqa")
    expected = [row.id for row in read(raw)]
    lines = convert(Path(shutil.copytree(raw, tmp_path / "lines")))
    shutil.copytree(lines, raw / "original")
    with zipfile.ZipFile(raw / "data.zip", "w") as archive:
        archive.write(lines / "train.json", "train.json")
    assert [row.id for row in read(raw)] == expected
    assert sum("json: not read: the Parquet file is used" in message for message in caplog.messages) == 3
    assert any("data.zip: not read" in message for message in caplog.messages)
    (raw / SHARD.format("validation")).unlink()
    rows = list(read(raw))
    assert [row.id for row in rows] == expected
    assert rows[80].provenance.file == "original/dev.json"


def test_equal_options_are_kept(miniature_of: FolderOf) -> None:
    rows = [
        row for row in samples(miniature_of("medmcqa")) if len(set(row.turns[0].options)) < len(row.turns[0].options)
    ]
    assert len(rows) == 4
    twice = [row.turns[0] for row in rows if row.turns[0].options.count(row.turns[0].answer) == 2]
    assert len(twice) == 2
    for turn in twice:  # the prompt names the first
        assert respond(Task.MULTIPLE_CHOICE, turn) == f"{'ABCD'[turn.options.index(turn.answer)]}. {turn.answer}"
