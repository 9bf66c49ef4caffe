"""VQA-RAD: the file of OSF, the derived copy and the copy of the hub."""

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.datasets import vqa_rad
from openmedq.datasets.readers.hub_shards import image_schema
from openmedq.datasets.vqa_rad import IMAGES, QUESTIONS, read
from openmedq.schema import Reason, Rejected, Sample
from tests.datasets.conftest import FolderOf

RECORD = {
    "qid": 7,
    "phrase_type": "freeform",
    "qid_linked_id": "link",
    "image_case_url": "https://example.org/case",
    "image_name": "synpic1.jpg",
    "image_organ": "HEAD",
    "question": " Is it so? ",
    "answer": "Yes",
    "answer_type": "CLOSED ",
}


def write(raw: Path, records: Any, name: str = QUESTIONS) -> Path:
    (raw / IMAGES).mkdir(parents=True, exist_ok=True)
    (raw / IMAGES / "synpic1.jpg").write_bytes(b"not an image")
    (raw / name).parent.mkdir(exist_ok=True)
    (raw / name).write_text(json.dumps(records), encoding="utf-8")
    return raw


def read_one(raw: Path, **changes: Any) -> Sample | Rejected:
    """The row of a record with changes; the value `...` removes the field. A good record follows it."""
    record = {key: value for key, value in (RECORD | changes).items() if value is not ...}
    first, second = read(write(raw, [record, RECORD | {"qid": "good"}]))
    assert isinstance(second, Sample)
    return first


def test_a_record_is_kept_whole(tmp_path: Path) -> None:
    row = read_one(tmp_path, question_type="POS, PRES", question_rephrase="NULL", unknown={"x": 1})
    assert row.id == "vqa_rad/7"
    assert row.split == "train"
    assert (row.turns[0].question, row.turns[0].answer) == ("Is it so?", "Yes")
    assert row.images[0].path == tmp_path / IMAGES / "synpic1.jpg"
    assert (row.groups.case, row.groups.question) == ("https://example.org/case", "link")
    assert row.attributes == {
        "answer_type": "closed",
        "phrase_type": "freeform",
        "image_organ": "HEAD",
        "question_type": "POS, PRES",
    }


@pytest.mark.parametrize(("answer", "expected"), [(4, "4"), (0, "0"), (2.5, "2.5"), (" Left ", "Left")])
def test_answers_become_text(tmp_path: Path, answer: Any, expected: str) -> None:
    row = read_one(tmp_path, answer=answer)
    assert row.turns[0].answer == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *(({name: ...}, Reason.FIELD_MISSING) for name in ("qid", "phrase_type", "question", "answer", "image_name")),
        ({"answer": float("nan")}, Reason.FIELD_MISSING),
        ({"phrase_type": "framed"}, Reason.FIELD_MISSING),
        ({"question": "  "}, Reason.QUESTION_EMPTY),
        ({"answer": ""}, Reason.ANSWER_EMPTY),
        ({"image_name": "absent.jpg"}, Reason.IMAGE_MISSING),
        ({"image_name": "../../etc/passwd"}, Reason.IMAGE_MISSING),
        ({"image_organ": "\ud800"}, Reason.NOT_UTF8),
    ],
)
def test_an_unusable_record_is_rejected(tmp_path: Path, changes: dict[str, Any], reason: Reason) -> None:
    row = read_one(tmp_path, **changes)
    assert row.reason is reason
    assert "\n" not in row.detail


@pytest.mark.parametrize(
    ("questions", "images", "folder"),
    [
        ("VQA_RAD_Dataset_Public.json", "VQA_RAD_Image_Folder", ""),
        (QUESTIONS, f"{IMAGES}.zip", ""),  # as OSF packs it
        (QUESTIONS, f"{IMAGES}.zip", "VQA_RAD Image Folder/"),
        (QUESTIONS, "VQA_RAD_Image_Folder.zip", "VQA_RAD Image Folder/"),
    ],
)
def test_other_names_of_the_layout_are_read(copy_of: FolderOf, questions: str, images: str, folder: str) -> None:
    raw = copy_of("vqa_rad")
    expected = [(row.id, row.turns) for row in read(raw) if isinstance(row, Sample)]
    (raw / QUESTIONS).rename(raw / questions)
    if images.endswith(".zip"):
        with zipfile.ZipFile(raw / images, "w") as archive:
            for path in (raw / IMAGES).iterdir():
                archive.write(path, f"{folder}{path.name}")
                path.unlink()
        (raw / IMAGES).rmdir()
    else:
        (raw / IMAGES).rename(raw / images)
    assert [(row.id, row.turns) for row in read(raw) if isinstance(row, Sample)] == expected


DERIVED = {
    "qid": 1,
    "image_name": "synpic1.jpg",
    "image_organ": "HEAD",
    "answer": 4,
    "answer_type": "OPEN",
    "question_type": "COUNT",
    "question": "How many?",
    "phrase_type": "frame",
}


def test_the_derived_copy_is_read_if_the_original_is_absent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, [DERIVED], "data_RAD/trainset.json")
    write(tmp_path, [DERIVED | {"qid": 2, "phrase_type": "freeform"}], "data_RAD/testset.json")
    derived = list(read(tmp_path))
    assert [(row.id, row.split) for row in derived] == [("vqa_rad/1", "train"), ("vqa_rad/2", "test")]
    assert all(isinstance(row, Sample) for row in derived)
    assert not caplog.messages
    write(tmp_path, [RECORD])
    assert [row.id for row in read(tmp_path)] == ["vqa_rad/7"]
    assert len([message for message in caplog.messages if "data_RAD" in message and "not read" in message]) == 2


def test_the_copy_of_the_hub_is_read_if_there_is_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hub = [
        {"image": {"bytes": b"one", "path": None}, "question": "is it so?", "answer": "yes"},
        {"image": {"bytes": b"one", "path": None}, "question": "where is it?", "answer": "left lung"},
        {"image": None, "question": "where is it?", "answer": "left lung"},
    ]
    for split, rows in (("train", hub), ("test", hub[:1])):
        (tmp_path / "vqa-rad/data").mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(rows, image_schema("question", "answer"))
        pq.write_table(table, tmp_path / f"vqa-rad/data/{split}-00000-of-00001-eb8844602202be60.parquet")
    closed, opened, bare, test = read(tmp_path)
    assert isinstance(bare, Rejected)
    assert [row.id for row in (closed, opened, bare, test)] == [f"vqa_rad/train-{n}" for n in (1, 2, 3)] + [
        "vqa_rad/test-1"
    ]
    assert (opened.turns[0].question, opened.turns[0].answer) == ("where is it?", "left lung")
    assert (closed.attributes["answer_type"], opened.attributes["answer_type"]) == ("closed", "open")
    assert closed.images == opened.images == test.images
    assert (test.split, test.licence) == ("test", "CC0-1.0")
    assert not caplog.messages

    assert [row.id for row in read(write(tmp_path, [RECORD]))] == ["vqa_rad/7"]
    assert len([message for message in caplog.messages if "parquet: not read" in message]) == 2


def test_an_id_may_have_its_other_name(tmp_path: Path) -> None:
    record = {key: value for key, value in RECORD.items() if key != "qid"} | {"question_id": 9}
    assert [row.id for row in read(write(tmp_path, [record]))] == ["vqa_rad/9"]


def test_real_files_are_read_whole(real_data: Path) -> None:
    rows = list(vqa_rad.read(real_data / "VQA-RAD"))
    assert all(isinstance(row, Sample) for row in rows)
    assert Counter(row.split for row in rows) == vqa_rad.card.published_rows == {"train": 1797, "test": 451}
    assert len({row.images[0].image_id for row in rows}) == 314
    assert Counter(row.attributes["answer_type"] for row in rows) == {"closed": 1299, "open": 949}
