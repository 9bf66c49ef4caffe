from __future__ import annotations

import json
import logging
import shutil
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.datasets.medmcqa import card, read
from openmedq.errors import ArchiveError, SourceError
from openmedq.model.prompt import respond
from openmedq.schema import Reason, Rejected, Role, Sample, Task
from openmedq.synthetic import medmcqa as synthetic_medmcqa

from .hostile import JSON

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
TEXTS = [name for name in ROW if name != "cop"]
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
    """The row of a record of the original release with changes; one that is `...` is left out."""
    record = {key: value for key, value in (ROW | {"cop": 2} | changes).items() if value is not ...}
    first, second = read(write_lines(raw, [record, GOOD]))
    assert isinstance(second, Sample)
    return first


def read_shard(raw: Path, split: str = "train", **changes: Any) -> Sample | Rejected:
    """The same of Hugging Face's copy."""
    first, _ = read(write_shard(raw, [ROW | changes, GOOD], split))
    return first


def convert(raw: Path) -> Path:
    """The Parquet files of a folder as the original release has them."""
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
    assert isinstance(first, Rejected)
    assert (first.reason, first.split) == (reason, "train")
    assert "Femur" not in first.detail


@pytest.mark.parametrize("cop", [2, 2.0, "2"])
def test_cop_may_be_written_as_pandas_does(tmp_path: Path, cop: Any) -> None:
    row = read_one(tmp_path, cop=cop)
    assert isinstance(row, Sample)
    assert row.turns[0].answer == "Femur"


def test_what_only_describes_may_be_absent(tmp_path: Path) -> None:
    for name in ("choice_type", "exp", "subject_name", "topic_name"):
        for value in (None, ..., [7]):
            row = read_one(tmp_path, **{name: value})
            assert isinstance(row, Sample)


def test_texts_of_a_shard_that_are_not_utf8_are_rejected(tmp_path: Path) -> None:
    rows = [
        {key: value.encode() if isinstance(value, str) else value for key, value in row.items()} for row in (ROW, GOOD)
    ]
    rows[0]["opa"] = b"caf\xe9"
    binary = pa.Table.from_pylist(rows, pa.schema([(n, pa.int64() if n == "cop" else pa.binary()) for n in ROW]))
    columns = [
        column
        if name == "cop"
        else pa.chunked_array(
            [pa.Array.from_buffers(pa.string(), len(chunk), chunk.buffers()) for chunk in column.chunks]
        )
        for name, column in zip(binary.column_names, binary.columns, strict=True)
    ]
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(columns, SCHEMA.names), tmp_path / SHARD.format("train"))
    bad, good = read(tmp_path)
    assert isinstance(bad, Rejected)
    assert (bad.reason, bad.split) == (Reason.NOT_UTF8, "train")
    assert isinstance(good, Sample)


# How cop counts


def test_both_layouts_say_the_same(copy_of: Callable[[str], Path]) -> None:
    raw = copy_of("medmcqa")
    said = [(row.id, row.split, getattr(row, "turns", None), getattr(row, "attributes", None)) for row in read(raw)]
    assert Counter(split for _, split, *_ in said) == {"train": 80, "validation": 24, "test": 12}
    convert(raw)
    again = list(read(raw))
    assert [(row.id, row.split, getattr(row, "turns", None), getattr(row, "attributes", None)) for row in again][
        :104
    ] == (said[:104])
    assert [row.reason for row in again if isinstance(row, Rejected)] == [Reason.ANSWER_WITHHELD] * 12


def test_a_thing_of_the_kind_is_the_answer(miniature_of: Callable[[str], Path]) -> None:
    for row in samples(miniature_of("medmcqa")):
        (kind,) = [kind for kind in synthetic_medmcqa._KINDS if f" {kind}" in row.turns[0].question]
        assert row.turns[0].answer in synthetic_medmcqa._KINDS[kind].split()


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
    with pytest.raises(SourceError, match="column `cop` is no whole number but string"):
        next(read(write_shard(tmp_path, [ROW | {"cop": "b"}], schema=schema)))


def test_withheld_answers_are_rejected_one_by_one(tmp_path: Path) -> None:
    for row in (
        read_shard(tmp_path / "1", "test", cop=-1),
        read_shard(tmp_path / "2", "test", cop=None),
        read_shard(tmp_path / "3", "train", cop=-1),
        *list(read(write_lines(tmp_path / "4", [{k: v for k, v in ROW.items() if k != "cop"}], "test.json"))),
        *list(read(write_lines(tmp_path / "5", [ROW | {"cop": float("nan")}], "test.json"))),
    ):
        assert isinstance(row, Rejected)
        assert (row.reason, row.id) == (Reason.ANSWER_WITHHELD, "medmcqa/7f0a")
    (known,) = read(write_lines(tmp_path / "6", [ROW], "test.json"))
    assert isinstance(known, Sample)
    assert card.roles["test"] is card.roles["validation"] is Role.EVALUATION


# Layouts


@pytest.mark.parametrize("place", ["", "data", "medmcqa", "converted"])
def test_shards_are_found_wherever_they_lie(copy_of: Callable[[str], Path], place: str) -> None:
    raw = copy_of("medmcqa")
    expected = [row.id for row in read(raw)]
    for path in sorted((raw / "data").iterdir()):
        split = path.name.split("-")[0]
        folder = raw / place / (f"default/{split}" if place == "converted" else "")
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / ("0000.parquet" if place == "converted" else path.name))
    assert [row.id for row in read(raw)] == expected


@pytest.mark.parametrize("place", ["", "medmcqa_data", "data.zip"])
def test_lines_are_found_unpacked_and_packed(copy_of: Callable[[str], Path], place: str) -> None:
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
    copy_of: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    raw = copy_of("medmcqa")
    expected = [row.id for row in read(raw)]
    lines = convert(Path(shutil.copytree(raw, tmp_path / "lines")))
    shutil.copytree(lines, raw / "original")
    with zipfile.ZipFile(raw / "data.zip", "w") as archive:
        archive.write(lines / "train.json", "train.json")
    assert [row.id for row in read(raw)] == expected
    assert sum("json: not read: the Parquet file is there" in message for message in caplog.messages) == 3
    assert any("data.zip: not read" in message for message in caplog.messages)
    (raw / SHARD.format("validation")).unlink()
    rows = list(read(raw))
    assert [row.id for row in rows] == expected
    assert rows[80].provenance.file == "original/dev.json"


def test_a_zip_beside_the_parquet_files_is_not_opened(copy_of: Callable[[str], Path]) -> None:
    raw = copy_of("medmcqa")
    (raw / "data.zip").write_bytes(b"no zip")
    assert len(list(read(raw))) == 116


def test_one_split_alone_is_enough(tmp_path: Path) -> None:
    assert [row.split for row in read(write_lines(tmp_path, [GOOD], "dev.json"))] == ["validation"]
    assert [row.split for row in read(write_shard(tmp_path / "hub", [ROW], "test"))] == ["test"]


# Bad files


def test_a_renamed_column_is_one_line(tmp_path: Path) -> None:
    for name in ("id", "question", "opc", "cop"):
        renamed = [{(f"{key}_" if key == name else key): value for key, value in row.items()} for row in (ROW, GOOD)]
        schema = pa.schema([(f"{key}_" if key == name else key, SCHEMA.field(key).type) for key in ROW])
        with pytest.raises(SourceError, match=f"no column `{name}`"):
            list(read(write_shard(tmp_path / "hub", renamed, schema=schema)))
        with pytest.raises(SourceError, match=f"train.json: .*no field `{name}`, in all of its 2 records"):
            list(read(write_lines(tmp_path / "original", renamed)))
        if name != "cop":
            with pytest.raises(SourceError, match=f"test.json: .*no field `{name}`, in all of its 2 records"):
                list(read(write_lines(tmp_path / "test", renamed, "test.json")))


def test_a_cut_file_is_one_line(copy_of: Callable[[str], Path]) -> None:
    raw = copy_of("medmcqa")
    path = raw / SHARD.format("train")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="not a whole Parquet file"):
        list(read(raw))
    path.write_bytes(whole)
    path = convert(raw) / "train.json"
    path.write_bytes(path.read_bytes()[:-9])
    assert [row.provenance.record for row in read(raw) if getattr(row, "reason", "") == "file truncated"] == ["line 80"]
    with zipfile.ZipFile(raw / "data.zip", "w") as archive:
        archive.write(path, "train.json")
    for each in raw.glob("*.json"):
        each.unlink()
    (raw / "data.zip").write_bytes((raw / "data.zip").read_bytes()[:-100])
    with pytest.raises(ArchiveError, match=r"data\.zip: not a whole archive"):
        list(read(raw))


def test_an_id_that_comes_twice_is_rejected_the_second_time(tmp_path: Path) -> None:
    write_lines(tmp_path, [ROW, ROW, GOOD | {"id": "101"}], "dev.json")
    write_lines(tmp_path, [GOOD])
    rows = list(read(tmp_path))
    assert [getattr(row, "reason", None) for row in rows] == [None, None, Reason.ID_REPEATED, None]
    assert (rows[2].id, rows[2].split) == ("medmcqa/validation-line-2", "validation")


@pytest.mark.parametrize("kind", ["lines", "shard"])
def test_memory_does_not_grow_with_the_set(tmp_path: Path, kind: str) -> None:
    def peak_bytes(num_rows: int) -> int:
        first = 1 if kind == "lines" else 0
        rows = [ROW | {"id": str(n), "cop": first + n % 4, "exp": "word " * 800} for n in range(num_rows)]
        (write_lines if kind == "lines" else write_shard)(tmp_path, rows)
        tracemalloc.start()
        assert sum(1 for _ in read(tmp_path)) == num_rows
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    small, large = peak_bytes(150), peak_bytes(1500)  # 0.6 and 6 MB
    assert large < small + 2**20


# Quirks


def test_questions_of_the_type_multi_are_kept(miniature_of: Callable[[str], Path]) -> None:
    kinds = Counter(row.attributes["choice_type"] for row in samples(miniature_of("medmcqa")))
    assert kinds == {"single": 64, "multi": 40}


def test_equal_options_are_kept(miniature_of: Callable[[str], Path]) -> None:
    rows = [
        row for row in samples(miniature_of("medmcqa")) if len(set(row.turns[0].options)) < len(row.turns[0].options)
    ]
    assert len(rows) == 4
    twice = [row.turns[0] for row in rows if row.turns[0].options.count(row.turns[0].answer) == 2]
    assert len(twice) == 2
    for turn in twice:  # the prompt names the first
        assert respond(Task.MULTIPLE_CHOICE, turn) == f"{'ABCD'[turn.options.index(turn.answer)]}. {turn.answer}"


def test_an_empty_option_is_none(miniature_of: Callable[[str], Path]) -> None:
    rows = [row for row in samples(miniature_of("medmcqa")) if len(row.turns[0].options) == 3]
    assert len(rows) == 2
    assert all("" not in row.turns[0].options and row.turns[0].answer in row.turns[0].options for row in rows)


def test_the_explanation_is_no_part_of_the_prompt(miniature_of: Callable[[str], Path]) -> None:
    rows = samples(miniature_of("medmcqa"))
    explained = [row for row in rows if "explanation" in row.attributes]
    assert 0 < len(explained) < len(rows)
    for row in explained:
        assert row.attributes["explanation"].startswith("Ans. is '")
        assert "Ans." not in row.turns[0].question + row.turns[0].context


def test_the_topic_may_be_absent(miniature_of: Callable[[str], Path]) -> None:
    rows = samples(miniature_of("medmcqa"))
    assert 20 < sum("topic_name" in row.attributes for row in rows) < 80
    assert all("subject_name" in row.attributes for row in rows)


def test_words_are_kept_as_spelt(miniature_of: Callable[[str], Path]) -> None:
    assert sum("impoant" in row.turns[0].question for row in samples(miniature_of("medmcqa"))) == 1


# Hostile records


@settings(max_examples=100)
@given(
    records=st.lists(
        st.fixed_dictionaries({}, optional={name: st.just(value) | JSON for name, value in ROW.items()}) | JSON,
        max_size=5,
    )
)
def test_no_record_crashes_the_reader(tmp_path: Path, records: list[Any]) -> None:
    write_lines(tmp_path, records)
    rows = []
    try:
        rows.extend(read(tmp_path))
    except SourceError as error:
        assert "\n" not in str(error)
    else:
        assert len(rows) == len(records)
    assert len({row.id for row in rows}) == len(rows)


@settings(max_examples=50)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {name: st.none() | st.sampled_from(["", " ", "7", str(ROW[name])]) for name in TEXTS}
            | {"cop": st.none() | st.integers(-2, 5)}
        ),
        max_size=5,
    ),
    split=st.sampled_from(["train", "test"]),
)
def test_no_row_crashes_the_reader(tmp_path: Path, rows: list[dict[str, Any]], split: str) -> None:
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    write_shard(tmp_path, rows, split)
    found = []
    try:
        found.extend(read(tmp_path))
    except SourceError as error:
        assert "\n" not in str(error)
    else:
        assert len(found) == len(rows)
        assert {row.split for row in found} <= {split}
    assert len({row.id for row in found}) == len(found)
