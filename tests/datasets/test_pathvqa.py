from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import pickle
import shutil
import tarfile
import tracemalloc
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures

from openmedq.datasets import pathvqa
from openmedq.datasets.pathvqa import read
from openmedq.datasets.readers.hub_shards import picture_schema
from openmedq.errors import ArchiveError, SourceError
from openmedq.schema import Reason, Rejected, Sample

SHARD = "data/train-00000-of-00001-0123456789abcdef.parquet"
SCHEMA = picture_schema("question", "answer")
ROW = {"image": {"bytes": b"no picture", "path": "train_0001.jpg"}, "question": " is it so? ", "answer": "Yes "}


def write(raw: Path, rows: list[dict[str, Any]], name: str = SHARD, schema: pa.Schema | None = SCHEMA) -> Path:
    (raw / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), raw / name)
    return raw


def read_one(raw: Path, **changes: Any) -> Sample | Rejected:
    """The row of a record with changes. A good record stands beside it."""
    first, second = read(write(raw, [ROW | changes, ROW]))
    assert isinstance(second, Sample)
    return first


def samples(raw: Path) -> list[Sample]:
    rows = list(read(raw))
    assert all(isinstance(row, Sample) for row in rows)
    return rows  # type: ignore[return-value]


# The Parquet files of the hub


def test_a_row_is_kept_whole(tmp_path: Path) -> None:
    row = read_one(tmp_path)
    assert isinstance(row, Sample)
    assert (row.id, row.split) == ("pathvqa/train-1", "train")
    assert (row.provenance.file, row.provenance.record) == (SHARD, "row 1")
    assert (row.turns[0].question, row.turns[0].answer) == ("is it so?", "Yes")
    assert row.images[0].data == b"no picture"
    assert row.images[0].image_id == hashlib.sha256(b"no picture").hexdigest()[:16]
    assert row.attributes == {"answer_type": "closed", "image_path": "train_0001.jpg"}
    assert "publishers" in row.licence


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("yes", "closed"), ("No", "closed"), ("yes, it is", "open"), ("none", "open"), ("3", "open")],
)
def test_yes_and_no_are_closed(tmp_path: Path, answer: str, expected: str) -> None:
    row = read_one(tmp_path, answer=answer)
    assert isinstance(row, Sample)
    assert row.attributes["answer_type"] == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": None}, Reason.FIELD_MISSING),
        ({"answer": None}, Reason.FIELD_MISSING),
        ({"image": None}, Reason.FIELD_MISSING),
        ({"image": {"bytes": None, "path": None}}, Reason.FIELD_MISSING),
        ({"question": " "}, Reason.QUESTION_EMPTY),
        ({"answer": ""}, Reason.ANSWER_EMPTY),
        ({"image": {"bytes": None, "path": "train_0001.jpg"}}, Reason.IMAGE_MISSING),
    ],
)
def test_what_can_not_be_represented_is_rejected(tmp_path: Path, changes: dict[str, Any], reason: Reason) -> None:
    row = read_one(tmp_path, **changes)
    assert isinstance(row, Rejected)
    assert (row.reason, row.id, row.split) == (reason, "pathvqa/train-1", "train")
    assert "\n" not in row.detail


def test_foreign_bytes_cost_one_row_and_ids_stay_unique(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"caf\xe9", b"good"]).view(pa.string())
    table = pa.table({"image": [ROW["image"]] * 3, "question": texts, "answer": ["yes"] * 3})
    (tmp_path / "data").mkdir()
    for number in range(2):
        pq.write_table(table, tmp_path / f"data/test-0000{number}-of-00002.parquet")
    rows = list(read(tmp_path))
    assert [row.id for row in rows] == [f"pathvqa/test-{number}" for number in range(1, 7)]
    rejected = [row for row in rows if isinstance(row, Rejected)]
    assert [(row.id, row.reason, row.split) for row in rejected] == [
        ("pathvqa/test-2", Reason.NOT_UTF8, "test"),
        ("pathvqa/test-5", Reason.NOT_UTF8, "test"),
    ]


def test_shards_are_read_in_order_and_numbered_through(miniature_of: Callable[[str], Path]) -> None:
    rows = samples(miniature_of("pathvqa"))
    assert [row.id for row in rows if row.split == "test"] == [f"pathvqa/test-{n}" for n in range(1, 43)]
    assert [row.split for row in rows] == ["train"] * 85 + ["validation"] * 18 + ["test"] * 42
    files = list(dict.fromkeys(row.provenance.file for row in rows))
    assert files == [file.path for file in pathvqa.card.files]


def test_one_split_alone_is_read(copy_of: Callable[[str], Path], caplog: pytest.LogCaptureFixture) -> None:
    raw = copy_of("pathvqa")
    for path in (raw / "data").glob("t*.parquet"):
        path.unlink()
    assert Counter(row.split for row in read(raw)) == {"validation": 18}
    next((raw / "data").iterdir()).unlink()
    assert Counter(row.split for row in read(raw)) == {"validation": 12}
    assert "2 of the 00003 files of the split validation" in caplog.text


@pytest.mark.parametrize("place", [".", "path-vqa", "path-vqa/data", "default"])
def test_files_may_lie_elsewhere(copy_of: Callable[[str], Path], place: str) -> None:
    raw = copy_of("pathvqa")
    expected = [(row.id, row.turns) for row in samples(raw)]
    for number, path in enumerate(sorted((raw / "data").iterdir())):
        name = f"{path.name.split('-')[0]}/{number:04}.parquet" if place == "default" else path.name
        (raw / place / name).parent.mkdir(parents=True, exist_ok=True)
        path.rename(raw / place / name)
    (raw / "data").rmdir()
    assert [(row.id, row.turns) for row in samples(raw)] == expected


def test_two_editions_are_not_read_as_one(tmp_path: Path) -> None:
    write(write(tmp_path, [ROW]), [ROW], SHARD.replace("0123", "ffff"))
    with pytest.raises(SourceError, match=r"two editions of the split train"):
        next(read(tmp_path))


def test_a_renamed_column_is_one_line_that_names_it(tmp_path: Path) -> None:
    write(tmp_path, [{"image": ROW["image"], "Question": "?", "answer": "yes"}], schema=None)
    with pytest.raises(SourceError, match=r"train-.*no column `question`; expected image, question, answer; found"):
        list(read(tmp_path))
    write(tmp_path, [{"image": "a.jpg", "question": "?", "answer": "yes"}] * 2, schema=None)
    with pytest.raises(SourceError, match=r"train-.*field `image` holds no picture, in all of its 2 records"):
        list(read(tmp_path))
    write(tmp_path, [])
    with pytest.raises(SourceError, match=r"train-.*holds no record"):
        list(read(tmp_path))


def test_a_cut_shard_is_one_line(copy_of: Callable[[str], Path]) -> None:
    raw = copy_of("pathvqa")
    path = raw / pathvqa.card.files[-1].path
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"test-00002.*not a whole Parquet file"):
        list(read(raw))


def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    def peak_bytes(num_rows: int) -> int:
        rows = [ROW | {"image": {"bytes": os.urandom(20_000), "path": None}} for _ in range(num_rows)]
        write(tmp_path, rows)
        del rows
        tracemalloc.start()
        assert sum(1 for _ in read(tmp_path)) == num_rows
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(1500) < peak_bytes(200) + 2**20


ANY = st.none() | st.text(max_size=8) | st.binary(max_size=8)
ROWS = st.fixed_dictionaries(
    {
        "image": st.none() | st.fixed_dictionaries({"bytes": st.none() | st.binary(max_size=4), "path": ANY}),
        "question": ANY,
        "answer": ANY,
    }
)


@settings(max_examples=100)
@given(rows=st.lists(ROWS, max_size=5))
def test_no_row_crashes_the_reader(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    def text(values: list[Any]) -> pa.Array:
        values = [value.encode("utf-8", "replace") if isinstance(value, str) else value for value in values]
        return pa.array(values, pa.binary()).view(pa.string())  # whatever the bytes are

    columns = [[row[name] for row in rows] for name in ("question", "answer")]
    pictures = [row["image"] or {} for row in rows]
    struct = pa.StructArray.from_arrays(
        [pa.array([p.get("bytes") for p in pictures], pa.binary()), text([p.get("path") for p in pictures])],
        names=["bytes", "path"],
        mask=pa.array([row["image"] is None for row in rows], pa.bool_()),
    )
    (tmp_path / "data").mkdir(exist_ok=True)
    pq.write_table(pa.table([struct, *map(text, columns)], schema=SCHEMA), tmp_path / SHARD)
    count(tmp_path, len(rows))


def count(raw: Path, num_records: int) -> None:
    """As many rows as records, each with an id of its own; or one line."""
    found = []
    try:
        found.extend(read(raw))
    except SourceError as error:
        assert "\n" not in str(error)
    else:
        assert len(found) == num_records
    assert len({row.id for row in found}) == len(found)


# The original release

QA = {"image": "train_0422", "question": "Where are  stem cells (oval cells) located?", "answer": "in the canals"}
VQA = {
    "answer_type": "other",
    "img_id": "train_0422",
    "label": {"in the canals": 1},
    "question_id": 100422000,
    "question_type": "where",
    "sent": "Where are stem cells located?",
}


def write_release(raw: Path, records: Any, name: str = "qas/train/train_qa.pkl", *, protocol: int = 3) -> Path:
    """A pickle, and beside it one picture for each split."""
    (raw / name).parent.mkdir(parents=True, exist_ok=True)
    (raw / name).write_bytes(pickle.dumps(records, protocol))
    for word in ("train", "val", "test"):
        (raw / "images" / word).mkdir(parents=True, exist_ok=True)
        (raw / "images" / word / f"{word}_0422.jpg").write_bytes(word.encode())
    return raw


def write_all(raw: Path, kind: str = "qa") -> Path:
    """The release as it unpacks: three splits with two records each."""
    for word in ("train", "val", "test"):
        one = QA | {"image": f"{word}_0422"} if kind == "qa" else VQA | {"img_id": f"{word}_0422"}
        name = f"qas/{word}/{word}_qa.pkl" if kind == "qa" else f"qas/{word}_vqa.pkl"
        write_release(raw, [one, one], name)
    (raw / "qas" / "ans2label.pkl").write_bytes(pickle.dumps({"in the canals": 0}))
    (raw / "train_img_id2idx.pkl").write_bytes(pickle.dumps({"train_0422": 0}))
    return raw


@pytest.mark.parametrize("name", ["pvqa.zip", "images.zip", "images/val.zip"])
def test_an_archive_serves_what_is_not_unpacked(tmp_path: Path, name: str) -> None:
    raw = write_all(tmp_path)
    expected = samples(raw)
    top = {"pvqa.zip": raw, "images.zip": raw, "images/val.zip": raw / "images"}[name]
    with zipfile.ZipFile(raw / name, "w") as archive:
        for path in sorted(raw.rglob("*.jpg")):
            if path.is_relative_to(top):
                archive.write(path, path.relative_to(top).as_posix())
    (raw / "images/val/val_0422.jpg").unlink()
    assert [(row.id, row.images[0].image_id) for row in samples(raw)] == [
        (row.id, row.images[0].image_id) for row in expected
    ]


def read_qa(raw: Path, name: str = "qas/train/train_qa.pkl", **changes: Any) -> Sample | Rejected:
    good = QA if name.endswith("_qa.pkl") else VQA
    record = {key: value for key, value in (good | changes).items() if value is not ...}
    first, second = read(write_release(raw, [record, good], name))
    assert isinstance(second, Sample)
    return first


@pytest.mark.parametrize("protocol", range(6))
def test_a_record_is_kept_whole(tmp_path: Path, protocol: int) -> None:
    (row,) = samples(write_release(tmp_path, [QA], protocol=protocol))
    assert (row.id, row.split) == ("pathvqa/train-1", "train")
    assert (row.provenance.file, row.provenance.record) == ("qas/train/train_qa.pkl", "record 1")
    assert (row.turns[0].question, row.turns[0].answer) == (QA["question"], QA["answer"])
    assert (row.images[0].image_id, row.images[0].path) == (
        "train/train_0422.jpg",
        tmp_path / "images/train/train_0422.jpg",
    )
    assert row.attributes == {"answer_type": "open"}


def test_a_record_of_the_other_kind_is_kept_whole(tmp_path: Path) -> None:
    row = read_qa(tmp_path, "qas/train_vqa.pkl", label={"worse": 0.3, "best": 1, 7: "no score", "bad": 0.6})
    assert isinstance(row, Sample)
    assert (row.turns[0].question, row.turns[0].answer) == ("Where are stem cells located?", "best")
    assert row.turns[0].alternatives == ("bad", "worse", "7")
    assert row.images[0].image_id == "train/train_0422.jpg"
    assert row.attributes == {
        "answer_type": "open",
        "published_answer_type": "other",
        "question_id": "100422000",
        "question_type": "where",
    }


@pytest.mark.parametrize("kind", ["qa", "vqa"])
@pytest.mark.parametrize("place", [".", "pvqa", "split/split"])
def test_the_release_is_read_where_it_unpacks(tmp_path: Path, kind: str, place: str) -> None:
    write_all(tmp_path / place, kind)
    rows = samples(tmp_path)
    assert [row.id for row in rows] == [f"pathvqa/{s}-{n}" for s in ("train", "validation", "test") for n in (1, 2)]
    assert {row.split: row.images[0].image_id for row in rows} == {
        "train": "train/train_0422.jpg",
        "validation": "val/val_0422.jpg",
        "test": "test/test_0422.jpg",
    }
    assert all(row.images[0].path.read_bytes().decode() in row.images[0].image_id for row in rows)  # type: ignore


def pack(folder: Path, archive: Path, prefix: str) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path: f"{prefix}{path.relative_to(folder).as_posix()}" for path in files}
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path, name in names.items():
                packed.write(path, name)
    else:
        with tarfile.open(archive, "w") as packed_tar:
            for path, name in names.items():
                packed_tar.add(path, name)


@pytest.mark.parametrize(("archive", "prefix"), [("pvqa.zip", "pvqa/"), ("a/split.tar", "split/split/"), ("b.zip", "")])
def test_the_release_is_read_in_its_archive(tmp_path: Path, archive: str, prefix: str) -> None:
    pack(write_all(tmp_path / "unpacked"), tmp_path / "raw" / archive, prefix)
    rows = samples(tmp_path / "raw")
    assert [row.id for row in rows] == [f"pathvqa/{s}-{n}" for s in ("train", "validation", "test") for n in (1, 2)]
    assert [row.images[0].data for row in rows[::2]] == [b"train", b"val", b"test"]
    assert [row.images[0].image_id for row in rows[4:5]] == ["test/test_0422.jpg"]
    assert (rows[0].provenance.file, rows[0].provenance.record) == (
        archive,
        f"{prefix}qas/train/train_qa.pkl record 1",
    )


@pytest.mark.parametrize("place", ["images.zip", "images.tar", "images/train.zip", "pvqa/images.zip", "images"])
def test_pictures_may_be_packed_or_flat(tmp_path: Path, place: str) -> None:
    (tmp_path / "raw").mkdir()
    write_release(tmp_path / "raw/pvqa", [QA])
    (tmp_path / "raw/pvqa/images").rename(tmp_path / "pictures")
    if place == "images":
        shutil.move(tmp_path / "pictures/train", tmp_path / "raw/images")
    else:
        pack(tmp_path / "pictures", tmp_path / "raw" / place, "images/")
    (row,) = samples(tmp_path / "raw")
    assert row.images[0].image_id == "train/train_0422.jpg"


def test_pickles_in_an_archive_may_have_their_pictures_beside_it(tmp_path: Path) -> None:
    write_release(tmp_path / "raw", [QA])
    pack(tmp_path / "raw/qas", tmp_path / "raw/qas.zip", "pvqa/qas/")
    shutil.rmtree(tmp_path / "raw/qas")
    (row,) = samples(tmp_path / "raw")
    assert row.images[0].path == tmp_path / "raw/images/train/train_0422.jpg"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *(({name: ...}, Reason.FIELD_MISSING) for name in QA),
        *(({name: None}, Reason.FIELD_MISSING) for name in QA),
        ({"question": ""}, Reason.QUESTION_EMPTY),
        ({"answer": " "}, Reason.ANSWER_EMPTY),
        ({"answer": ["yes"]}, Reason.FIELD_MISSING),
        ({"image": "train_0423"}, Reason.IMAGE_MISSING),
        ({"image": "../../../etc/passwd"}, Reason.IMAGE_MISSING),
        ({"image": "x" * 400}, Reason.IMAGE_MISSING),
        ({"image": "a\0b"}, Reason.IMAGE_MISSING),
        ({"question": "\ud800"}, Reason.NOT_UTF8),
        ({"image": "\ud800"}, Reason.NOT_UTF8),
    ],
)
def test_records_that_can_not_be_represented_are_rejected(
    tmp_path: Path, changes: dict[str, Any], reason: Reason
) -> None:
    row = read_qa(tmp_path, **changes)
    assert isinstance(row, Rejected)
    assert (row.reason, row.id) == (reason, "pathvqa/train-1")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"label": ...}, Reason.FIELD_MISSING),
        ({"label": "yes"}, Reason.FIELD_MISSING),
        ({"label": {}}, Reason.ANSWER_EMPTY),
        ({"label": {"": 1}}, Reason.ANSWER_EMPTY),
        ({"label": {None: 1}}, Reason.FIELD_MISSING),
        ({"label": {"\ud800": 1}}, Reason.NOT_UTF8),
        ({"sent": ...}, Reason.FIELD_MISSING),
        ({"sent": " "}, Reason.QUESTION_EMPTY),
        ({"img_id": 422}, Reason.FIELD_MISSING),
        ({"img_id": "train_0423"}, Reason.IMAGE_MISSING),
    ],
)
def test_records_of_the_other_kind_are_rejected(tmp_path: Path, changes: dict[str, Any], reason: Reason) -> None:
    row = read_qa(tmp_path, "qas/train_vqa.pkl", **changes)
    assert isinstance(row, Rejected)
    assert row.reason is reason


def test_numbers_and_other_endings_are_read(tmp_path: Path) -> None:
    (tmp_path / "images/train").mkdir(parents=True)
    (tmp_path / "images/train/a.png").write_bytes(b"png")
    for name in ("a", "a.png"):
        row = read_qa(tmp_path, image=name, answer=3)
        assert isinstance(row, Sample)
        assert (row.turns[0].answer, row.images[0].image_id) == ("3", "train/a.png")


def test_without_pictures_every_record_is_rejected_and_counted(tmp_path: Path) -> None:
    shutil.rmtree(write_all(tmp_path) / "images")
    assert Counter(row.reason for row in read(tmp_path) if isinstance(row, Rejected)) == {Reason.IMAGE_MISSING: 6}


class Exploit:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_pickle_that_runs_code_is_one_line_and_runs_nothing(tmp_path: Path, is_packed: bool) -> None:
    raw = write_release(tmp_path / "raw", [QA, QA | {"answer": Exploit(tmp_path / "ran")}])
    if is_packed:
        pack(raw / "qas", raw / "qas.zip", "qas/")
        shutil.rmtree(raw / "qas")
    with pytest.raises(SourceError, match=r"train_qa\.pkl: refused: it names a .*; use the Parquet") as e:
        list(read(raw))
    assert "\n" not in str(e.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{}, {"a": 1}, [], [1, 2], None, "text", {1, 2}])
def test_another_pickle_is_one_line(tmp_path: Path, content: Any) -> None:
    with pytest.raises(SourceError, match=r"train_qa\.pkl"):
        list(read(write_release(tmp_path, content, protocol=4)))
    with pytest.raises(SourceError, match=r"train_qa\.pkl: .*no field `question`, in all of its 2 records"):
        list(read(write_release(tmp_path, [{"Question": "?"}] * 2)))


def test_a_cut_file_of_the_release_is_one_line(tmp_path: Path) -> None:
    path = write_all(tmp_path / "raw") / "qas/train/train_qa.pkl"
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"none"):
        path.write_bytes(data)
        with pytest.raises(SourceError, match=r"train_qa\.pkl: not a whole pickle"):
            list(read(tmp_path / "raw"))
    pack(tmp_path / "raw", tmp_path / "packed/pvqa.zip", "")
    archive = tmp_path / "packed/pvqa.zip"
    archive.write_bytes(archive.read_bytes()[:500])
    with pytest.raises(ArchiveError, match=r"pvqa\.zip"):
        list(read(tmp_path / "packed"))


def test_of_several_layouts_one_is_read_and_the_others_named(
    copy_of: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    raw = copy_of("pathvqa")
    expected = samples(raw)
    write_all(raw / "pvqa")
    (raw / "QA-pairs.json").write_text("[]")
    assert samples(raw) == expected
    named = [message for message in caplog.messages if "not read" in message]
    assert [Path(message.split(": ")[0]).name for message in named] == [
        "QA-pairs.json",
        "train_qa.pkl",
        "val_qa.pkl",
        "test_qa.pkl",
    ]
    shutil.rmtree(raw / "data")
    caplog.clear()
    write_release(raw / "pvqa", [VQA], "qas/train_vqa.pkl")
    write_release(raw / "pvqa/old", [QA] * 7)
    assert len(samples(raw)) == 6
    assert "train_vqa.pkl: not read: `_qa.pkl` is there" in caplog.text
    assert "old: not read: another copy of the split train is there" in caplog.text


def test_an_unrelated_archive_is_no_layout(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(SourceError, match=r"no `data/train-\*\.parquet`; expected it there"):
        list(read(tmp_path))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=6) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def records_like(good: dict[str, Any]) -> st.SearchStrategy[Any]:
    fields = {name: st.just(value) | PLAIN for name, value in good.items()}
    return st.lists(st.fixed_dictionaries({}, optional=fields) | PLAIN, max_size=5) | PLAIN


@settings(max_examples=100)
@given(records=records_like(QA), protocol=st.integers(3, 5))
def test_no_record_crashes_the_reader(tmp_path: Path, records: Any, protocol: int) -> None:
    count(write_release(tmp_path, records, protocol=protocol), len(records) if isinstance(records, list) else -1)


@settings(max_examples=100)
@given(records=records_like(VQA))
def test_no_record_of_the_other_kind_crashes_the_reader(tmp_path: Path, records: Any) -> None:
    count(write_release(tmp_path, records, "qas/train_vqa.pkl"), len(records) if isinstance(records, list) else -1)


# The miniature


@pytest.fixture(scope="session")
def rows(miniature_of: Callable[[str], Path]) -> list[Sample]:
    return samples(miniature_of("pathvqa"))


def test_a_picture_is_named_by_its_bytes(rows: list[Sample], tmp_path: Path) -> None:
    assert 0 < sum("image_path" not in row.attributes for row in rows) < len(rows) / 2
    assert len({row.images[0].image_id for row in rows}) == len({row.images[0].data for row in rows}) == 24
    first, second = read(write(tmp_path, [ROW, ROW | {"image": {"bytes": b"other", "path": "train_0001.jpg"}}]))
    assert isinstance(first, Sample)
    assert isinstance(second, Sample)
    assert first.attributes["image_path"] == second.attributes["image_path"]
    assert first.images[0].image_id != second.images[0].image_id


def test_the_questions_on_a_picture_are_scattered(rows: list[Sample]) -> None:
    files = defaultdict(set)
    for row in rows:
        files[row.images[0].image_id].add(row.provenance.file)
    assert all(len(names) > 1 for names in files.values())
    assert {len(names) for names in files.values()} >= {2, 3, 4}
    assert min(Counter(row.images[0].image_id for row in rows).values()) == 6


def test_pictures_come_in_all_encodings(rows: list[Sample]) -> None:
    data = {row.images[0].image_id: row.images[0].data or b"" for row in rows if row.split == "train"}
    kinds = Counter()
    for picture in data.values():
        with Pictures.open(io.BytesIO(picture)) as opened:
            kinds[opened.format, opened.mode] += 1
            if opened.mode == "CMYK":
                assert b"Adobe" in picture
                assert opened.convert("RGB").getextrema()[0][1] > 150  # inverted as it should be: the mass is bright
    assert set(kinds) == {("JPEG", "CMYK"), ("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB")}
    assert any(row.images[0].data.startswith(b"\x89PNG") and row.attributes.get("image_path") for row in rows)  # type: ignore


def test_half_the_answers_are_yes_or_no(rows: list[Sample]) -> None:
    for split in pathvqa.card.roles:
        types = Counter(row.attributes["answer_type"] for row in rows if row.split == split)
        assert abs(types["open"] - types["closed"]) <= 1
    answers = Counter(row.turns[0].answer for row in rows if row.attributes["answer_type"] == "closed")
    assert set(answers) == {"yes", "no"}
    assert min(answers.values()) > sum(answers.values()) / 3


def test_questions_are_kept_as_they_are_written(rows: list[Sample]) -> None:
    questions = Counter(row.turns[0].question for row in rows)
    for question in ("Where is the mass located?", "which organ  is shown?", "how many clips are seen ?"):
        assert questions[question] in (1, 2)
    assert questions["is the mass large??"] in (1, 2)
    assert sum(not question.islower() for question in questions) == 1
    tested = {row.turns[0].question for row in rows if row.split != "train"}
    assert tested <= {row.turns[0].question for row in rows if row.split == "train"}


def test_a_triplet_comes_twice(rows: list[Sample]) -> None:
    triplets = Counter((row.split, row.images[0].image_id, row.turns[0]) for row in rows)
    assert sorted(triplets.values())[-2:] == [1, 2]


def test_the_hub_shows_the_pictures(miniature_of: Callable[[str], Path]) -> None:
    for file in pathvqa.card.files:
        metadata = pq.read_schema(miniature_of("pathvqa") / file.path).metadata
        assert json.loads(metadata[b"huggingface"])["info"]["features"]["image"] == {"_type": "Image"}
