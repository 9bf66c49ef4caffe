"""SLAKE: languages, images by folder and name, the names of the layout."""

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.datasets import slake
from openmedq.datasets.readers.hub_shards import image_schema
from openmedq.datasets.slake import read
from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Sample
from tests.datasets import faults
from tests.datasets.conftest import FolderOf

RECORD = {
    "img_id": 1,
    "img_name": "xmlab1/source.jpg",
    "question": " What causes it? ",
    "answer": "Smoking",
    "q_lang": "en",
    "location": "Lung",
    "modality": "X-Ray",
    "answer_type": "OPEN",
    "base_type": "kvqa",
    "content_type": "KG",
    "triple": ["vhead", "cause", "ktail"],
    "qid": 7,
}


def write(raw: Path, records: Any, name: str = "train.json") -> Path:
    for folder in ("xmlab1", "xmlab2"):
        (raw / "imgs" / folder).mkdir(parents=True, exist_ok=True)
        (raw / "imgs" / folder / "source.jpg").write_bytes(f"{folder}: not an image".encode())
    (raw / name).write_text(json.dumps(records), encoding="utf-8")
    return raw


def read_one(raw: Path, **changes: Any) -> Sample | Rejected:
    """The row of a record with changes; the value `...` removes the field. A good record follows it."""
    record = {key: value for key, value in (RECORD | changes).items() if value is not ...}
    first, second = read(write(raw, [record, RECORD | {"qid": "good"}]))
    assert isinstance(second, Sample)
    return first


def test_a_record_is_kept_whole(tmp_path: Path) -> None:
    row = read_one(tmp_path, unknown={"x": 1})
    assert (row.id, row.split, row.modality, row.licence) == ("slake/7", "train", "radiology", "CC-BY-4.0")
    assert (row.turns[0].question, row.turns[0].answer) == ("What causes it?", "Smoking")
    assert row.images[0].image_id == "xmlab1/source.jpg"
    assert row.images[0].path == tmp_path / "imgs/xmlab1/source.jpg"
    assert (row.provenance.file, row.provenance.record) == ("train.json", "record 1")
    assert row.attributes == {
        "answer_type": "open",
        "base_type": "kvqa",
        "content_type": "KG",
        "img_id": "1",
        "language": "en",
        "location": "Lung",
        "modality": "X-Ray",
        "triple": "vhead; cause; ktail",
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *(
            ({name: value}, Reason.FIELD_MISSING)
            for name in ("qid", "img_name", "question", "answer", "q_lang")
            for value in (..., None)
        ),
        ({"q_lang": "zh", "answer": ...}, Reason.FIELD_MISSING),
        ({"question": "  "}, Reason.QUESTION_EMPTY),
        ({"answer": ""}, Reason.ANSWER_EMPTY),
        ({"q_lang": "zh", "answer": ""}, Reason.LANGUAGE_EXCLUDED),
        ({"img_name": "xmlab3/source.jpg"}, Reason.IMAGE_MISSING),
        ({"img_name": "source.jpg"}, Reason.IMAGE_MISSING),
        ({"img_name": "imgs"}, Reason.IMAGE_MISSING),
        ({"img_name": "../imgs/xmlab1/source.jpg"}, Reason.IMAGE_MISSING),
        ({"question": "\ud800"}, Reason.NOT_UTF8),
    ],
)
def test_an_unusable_record_is_rejected(tmp_path: Path, changes: dict[str, Any], reason: Reason) -> None:
    row = read_one(tmp_path, **changes)
    assert row.reason is reason
    assert "\n" not in row.detail


def test_the_setting_decides_which_languages_are_read(miniature_of: FolderOf) -> None:
    raw = miniature_of("slake")
    rejected = [row for row in read(raw) if isinstance(row, Rejected)]
    assert Counter(row.reason for row in rejected) == {Reason.LANGUAGE_EXCLUDED: 128, Reason.ANSWER_EMPTY: 1}
    assert {row.split for row in rejected} == {"train", "validation", "test"}
    both = list(read(raw, languages=("en", "zh")))
    assert [row.id for row in both] == [row.id for row in read(raw)]
    assert Counter(row.attributes["language"] for row in both if isinstance(row, Sample)) == {"en": 128, "zh": 128}
    assert Counter(type(row) for row in read(raw, languages=())) == {Rejected: 257}


def test_the_copy_of_the_hub_is_read_if_there_is_no_other(tmp_path: Path) -> None:
    row = {"image": {"bytes": b"not an image", "path": None}, "question": "Where?", "answer": "Liver"}
    for split, rows in (("train", [row, row | {"answer": ""}]), ("test", [row])):
        (tmp_path / "data").mkdir(exist_ok=True)
        table = pa.Table.from_pylist(rows, image_schema("question", "answer"))
        pq.write_table(table, tmp_path / f"data/{split}-00000-of-00001.parquet")
    first, second, test = read(tmp_path)
    assert isinstance(first, Sample) and isinstance(second, Rejected) and isinstance(test, Sample)
    assert (first.id, first.modality, first.turns[0].answer) == ("slake/train-1", "radiology", "Liver")
    assert (second.reason, test.id, test.split) == (Reason.ANSWER_EMPTY, "slake/test-1", "test")
    assert [row.id for row in read(write(tmp_path, [RECORD]))] == ["slake/7"]


def test_an_id_may_have_its_other_name(tmp_path: Path) -> None:
    assert read_one(tmp_path, qid=..., question_id=9).id == "slake/9"


def test_the_error_names_a_packed_archive_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "Slake1.0.zip").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"unpack Slake1\.0\.zip"):
        list(read(tmp_path))


def test_the_projects_archive_has_another_name_for_a_split(copy_of: FolderOf) -> None:
    raw = copy_of("slake")
    expected = [(row.id, row.turns) for row in read(raw) if isinstance(row, Sample)]
    (raw / "validation.json").rename(raw / "validate.json")
    assert [(row.id, row.turns) for row in read(raw) if isinstance(row, Sample)] == expected


def test_one_copy_of_a_split_is_read_and_the_other_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, [RECORD], "validation.json")
    write(tmp_path, [RECORD | {"qid": 8}], "validate.json")
    assert [(row.id, row.split) for row in read(tmp_path)] == [("slake/7", "validation")]
    assert caplog.text.count("validate.json: not read") == 1


@pytest.mark.parametrize("is_packed", [True, False])
def test_an_image_is_found_by_its_folder_and_never_by_its_name_alone(copy_of: FolderOf, is_packed: bool) -> None:
    raw = copy_of("slake")
    rows = [row for row in read(raw) if isinstance(row, Sample)]
    images = {row.images[0].image_id: row.images[0].data for row in rows}
    assert len(images) == len(set(images.values())) == 56
    taken, *others = images
    faults.unpack(raw, 1)
    (raw / "imgs" / taken).unlink()
    (raw / "imgs/source.jpg").write_bytes(b"the first file of that name")
    if is_packed:
        with zipfile.ZipFile(raw / "imgs.zip", "w") as archive:
            for path in sorted((raw / "imgs").rglob("*.*")):
                archive.write(path, path.relative_to(raw).as_posix())
        (raw / "imgs").rename(raw / "elsewhere")
    rejected = [row for row in read(raw) if isinstance(row, Rejected) and row.reason is Reason.IMAGE_MISSING]
    assert len(rejected) == sum(row.images[0].image_id == taken for row in rows) > 0
    assert {row.images[0].image_id for row in read(raw) if isinstance(row, Sample)} == set(others)


def test_real_files_are_read_whole(real_data: Path) -> None:
    rows = list(read(real_data / "SLAKE"))
    assert Counter(row.split for row in rows) == slake.card.published_rows
    reasons = Counter(row.reason for row in rows if isinstance(row, Rejected))
    assert reasons == {Reason.LANGUAGE_EXCLUDED: 6995, Reason.IMAGE_MISSING: 7032, Reason.ANSWER_EMPTY: 1}
    both = Counter(row.reason for row in read(real_data / "SLAKE", ("en", "zh")) if isinstance(row, Rejected))
    assert both == {Reason.IMAGE_MISSING: 14_027, Reason.ANSWER_EMPTY: 1}
    assert len({row.id for row in rows}) == 14_028
