"""PathVQA: the Parquet files of the hub, and the pickles of the original release."""

import hashlib
import os
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.datasets.pathvqa import pathvqa
from openmedq.datasets.pathvqa.pathvqa import read
from openmedq.datasets.readers.hub_shards import image_schema
from openmedq.errors import SourceError
from openmedq.schema import Image, Reason, Rejected, Sample
from tests.datasets.conftest import FolderOf

SHARD = "data/train-00000-of-00001-0123456789abcdef.parquet"
ROW = {"image": {"bytes": b"no image", "path": "train_0001.jpg"}, "question": " is it so? ", "answer": "Yes "}
IDS = [f"pathvqa/{split}-{number}" for split in ("train", "validation", "test") for number in (1, 2)]


def write(raw: Path, rows: list[dict[str, Any]]) -> Path:
    (raw / SHARD).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, image_schema("question", "answer")), raw / SHARD)
    return raw


def samples(raw: Path) -> list[Sample]:
    rows = list(read(raw))
    assert all(isinstance(row, Sample) for row in rows)
    return rows  # type: ignore[return-value]


def test_a_row_is_kept_whole(tmp_path: Path) -> None:
    (row,) = samples(write(tmp_path, [ROW]))
    assert (row.id, row.split) == ("pathvqa/train-1", "train")
    assert (row.provenance.file, row.provenance.record) == (SHARD, "row 1")
    assert (row.turns[0].question, row.turns[0].answer) == ("is it so?", "Yes")
    assert row.images[0].data == b"no image"
    assert row.images[0].image_id == hashlib.sha256(b"no image").hexdigest()[:16]
    assert row.attributes == {"answer_type": "closed", "image_path": "train_0001.jpg"}
    assert "publishers" in row.licence


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image": None}, Reason.FIELD_MISSING),
        ({"question": " "}, Reason.QUESTION_EMPTY),
        ({"answer": ""}, Reason.ANSWER_EMPTY),
        ({"image": {"bytes": None, "path": "train_0001.jpg"}}, Reason.IMAGE_MISSING),
    ],
)
def test_an_unusable_row_is_rejected(tmp_path: Path, changes: dict[str, Any], reason: Reason) -> None:
    row, _ = read(write(tmp_path, [ROW | changes, ROW]))
    assert (row.reason, row.id, row.split) == (reason, "pathvqa/train-1", "train")


def test_invalid_text_costs_one_row_and_ids_stay_unique(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"caf\xe9", b"good"]).view(pa.string())
    table = pa.table({"image": [ROW["image"]] * 3, "question": texts, "answer": ["yes"] * 3})
    for number in range(2):
        pq.write_table(table, tmp_path / f"test-0000{number}-of-00002.parquet")
    rows = list(read(tmp_path))
    assert [row.id for row in rows] == [f"pathvqa/test-{number}" for number in range(1, 7)]
    assert [(row.id, row.reason) for row in rows if isinstance(row, Rejected)] == [
        ("pathvqa/test-2", Reason.NOT_UTF8),
        ("pathvqa/test-5", Reason.NOT_UTF8),
    ]


def test_shards_are_read_in_order_and_numbered_consecutively(miniature_of: FolderOf) -> None:
    rows = samples(miniature_of("pathvqa"))
    assert [row.id for row in rows if row.split == "test"] == [f"pathvqa/test-{n}" for n in range(1, 43)]
    assert [row.split for row in rows] == ["train"] * 85 + ["validation"] * 18 + ["test"] * 42
    files = list(dict.fromkeys(row.provenance.file for row in rows))
    assert files == [file.path for file in pathvqa.card.files]


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
    """A pickle, and one image for each split."""
    (raw / name).parent.mkdir(parents=True, exist_ok=True)
    (raw / name).write_bytes(pickle.dumps(records, protocol))
    for word in ("train", "val", "test"):
        (raw / "images" / word).mkdir(parents=True, exist_ok=True)
        (raw / "images" / word / f"{word}_0422.jpg").write_bytes(word.encode())
    return raw


def write_all(raw: Path, kind: str = "qa") -> Path:
    """The unpacked release: three splits with two records each, and a pickle that is not read."""
    for word in ("train", "val", "test"):
        record = QA | {"image": f"{word}_0422"} if kind == "qa" else VQA | {"img_id": f"{word}_0422"}
        write_release(raw, [record] * 2, f"qas/{word}/{word}_qa.pkl" if kind == "qa" else f"qas/{word}_vqa.pkl")
    (raw / "train_img_id2idx.pkl").write_bytes(pickle.dumps({"train_0422": 0}))
    return raw


def pack(folder: Path, archive: Path, prefix: str = "", pattern: str = "*") -> None:
    files = sorted(path for path in folder.rglob(pattern) if path.is_file())
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


def read_record(raw: Path, name: str = "qas/train/train_qa.pkl", **changes: Any) -> Sample | Rejected:
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
    assert row.images == (Image("train/train_0422.jpg", path=tmp_path / "images/train/train_0422.jpg"),)
    assert row.attributes == {"answer_type": "open"}


def test_a_labeled_record_is_kept_whole(tmp_path: Path) -> None:
    row = read_record(tmp_path, "qas/train_vqa.pkl", label={"worse": 0.3, "best": 1, 7: "no score", "bad": 0.6})
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
def test_the_release_is_read_unpacked(tmp_path: Path, kind: str, place: str) -> None:
    write_all(tmp_path / place, kind)
    rows = samples(tmp_path)
    assert [row.id for row in rows] == IDS
    for row, word in zip(rows[::2], ("train", "val", "test"), strict=True):
        assert row.images[0].image_id == f"{word}/{word}_0422.jpg"
        assert row.images[0].path is not None
        assert row.images[0].path.read_bytes() == word.encode()


@pytest.mark.parametrize(("archive", "prefix"), [("pvqa.zip", "pvqa/"), ("a/split.tar", "split/split/"), ("b.zip", "")])
def test_the_release_is_read_from_its_archive(tmp_path: Path, archive: str, prefix: str) -> None:
    pack(write_all(tmp_path / "unpacked"), tmp_path / "raw" / archive, prefix)
    rows = samples(tmp_path / "raw")
    assert [row.id for row in rows] == IDS
    assert [row.images[0].data for row in rows[::2]] == [b"train", b"val", b"test"]
    assert rows[4].images[0].image_id == "test/test_0422.jpg"
    assert rows[0].provenance.file == archive
    assert rows[0].provenance.record == f"{prefix}qas/train/train_qa.pkl record 1"


@pytest.mark.parametrize("name", ["pvqa.zip", "images.zip", "images/val.zip"])
def test_an_archive_supplies_the_images_that_are_not_unpacked(tmp_path: Path, name: str) -> None:
    raw = write_all(tmp_path)
    pack(raw / "images" if name == "images/val.zip" else raw, raw / name, pattern="*.jpg")
    (raw / "images/val/val_0422.jpg").unlink()
    assert [row.images[0].image_id for row in samples(raw)][2] == "val/val_0422.jpg"


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        *(("train/train_qa", {field: value}, Reason.FIELD_MISSING) for field in QA for value in (..., None)),
        ("train/train_qa", {"question": ""}, Reason.QUESTION_EMPTY),
        ("train/train_qa", {"answer": " "}, Reason.ANSWER_EMPTY),
        ("train/train_qa", {"image": "train_0423"}, Reason.IMAGE_MISSING),
        ("train/train_qa", {"image": "../../../etc/passwd"}, Reason.IMAGE_MISSING),
        ("train/train_qa", {"image": "x" * 400}, Reason.IMAGE_MISSING),
        ("train/train_qa", {"image": "a\0b"}, Reason.IMAGE_MISSING),
        ("train/train_qa", {"image": "\ud800"}, Reason.NOT_UTF8),
        ("train_vqa", {"label": "yes"}, Reason.FIELD_MISSING),
        ("train_vqa", {"label": {}}, Reason.ANSWER_EMPTY),
        ("train_vqa", {"label": {"": 1}}, Reason.ANSWER_EMPTY),
        ("train_vqa", {"label": {None: 1}}, Reason.FIELD_MISSING),
        ("train_vqa", {"sent": " "}, Reason.QUESTION_EMPTY),
        ("train_vqa", {"img_id": "train_0423"}, Reason.IMAGE_MISSING),
    ],
)
def test_an_unusable_record_is_rejected(tmp_path: Path, name: str, changes: dict[str, Any], reason: Reason) -> None:
    row = read_record(tmp_path, f"qas/{name}.pkl", **changes)
    assert (row.reason, row.id) == (reason, "pathvqa/train-1")


class Exploit:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    raw = write_release(tmp_path / "raw", [QA, QA | {"answer": Exploit(tmp_path / "ran")}])
    with pytest.raises(SourceError, match=r"train_qa\.pkl: .*; use the Parquet"):
        list(read(raw))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{"a": 1}, [], [1, 2], None, {1, 2}, [{"Question": "?"}] * 2])
def test_a_pickle_without_records_is_an_error(tmp_path: Path, content: Any) -> None:
    with pytest.raises(SourceError, match=r"train_qa\.pkl"):
        list(read(write_release(tmp_path, content, protocol=4)))


def test_one_layout_is_read_and_the_others_are_logged(copy_of: FolderOf, caplog: pytest.LogCaptureFixture) -> None:
    raw = copy_of("pathvqa")
    expected = samples(raw)
    write_all(raw / "pvqa")
    (raw / "QA-pairs.json").write_text("[]")
    assert samples(raw) == expected
    unused = [Path(message.split(": ")[0]).name for message in caplog.messages]
    assert sorted(unused) == ["QA-pairs.json", "test_qa.pkl", "train_qa.pkl", "val_qa.pkl"]
    shutil.rmtree(raw / "data")
    caplog.clear()
    write_release(raw / "pvqa", [VQA], "qas/train_vqa.pkl")
    write_release(raw / "pvqa/old", [QA] * 7)
    assert len(samples(raw)) == 6
    assert "train_vqa.pkl: not read" in caplog.text
    assert "pvqa/old" in caplog.text
