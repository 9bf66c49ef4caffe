"""u-Bench: questions and captions as entries of rows, shards in Arrow files."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from openmedq.datasets.ubench import FOLDER, NONE, SHARDS, card, read
from openmedq.schema import Image, Provenance, Reason, Rejected, Sample, Task, Turn
from tests.datasets.conftest import FolderOf

QUESTION = {
    "answer": "light microscopy",
    "answer_idx": 1,
    "id": "asked",
    "name": "modality",
    "question": " Which modality? ",
    "options": ["fluorescence microscopy", "light microscopy ", NONE],
    "tags": None,
}
CAPTION = {
    "id": "asked",
    "name": "modality",
    "question": "A micrograph acquired through {class}.",
    "answer_idx": "1",
    "options": [f"A micrograph acquired through {name} microscopy." for name in ("fluorescence", "light")],
    "tags": ["coarse", "x"],
}
ROW: dict[str, Any] = {
    "image_id": "913ab0f2",
    "image": {"bytes": b"not an image", "path": None},
    "label": 5,
    "label_name": "monocyte",
    "dataset": "acevedo_et_al_2020",
    "domain": "pathology",
    "institution": "hosp_barcelona",
    "license": "CC-BY-4.0",
    "microns_per_pixel": np.float32(0.1),
    "modality": "light microscopy",
    "ncbitaxon_id": "NCBITaxon_9606",
    "ncbitaxon_name": "Homo sapiens",
    "pmid": "32346559",
    "stain": "Giemsa",
    "subdomain": "hematopathology",
    "submodality": "brightfield microscopy",
    "synthetic": False,
    "captions": {"modality_0": CAPTION},
    "questions": {"modality": QUESTION},
}


def write(raw: Path, rows: list[dict[str, Any]], name: str = SHARDS[0]) -> Path:
    (raw / FOLDER).mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(raw / FOLDER / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return raw


def read_two(raw: Path, **changes: Any) -> tuple[Sample | Rejected, Sample | Rejected]:
    """The question and the caption of a row with changes. A good row follows it."""
    row, other = ROW | changes, ROW | {"image_id": "good"}
    for kind, key in (("questions", "modality"), ("captions", "modality_0")):  # one type per column
        place = row[kind][key]["answer_idx"]
        other[kind] = {key: ROW[kind][key] | {"answer_idx": "1" if isinstance(place, str) else 1}}
    question, caption, *good = read(write(raw, [row, other]))
    assert all(isinstance(each, Sample) for each in good)
    assert len(good) == 2
    return question, caption


def read_question(raw: Path, **changes: Any) -> Sample | Rejected:
    return read_two(raw, questions={"modality": QUESTION | changes})[0]


def read_caption(raw: Path, **changes: Any) -> Sample | Rejected:
    return read_two(raw, captions={"modality_0": CAPTION | changes})[1]


def test_a_question_is_kept_whole(tmp_path: Path) -> None:
    row, _ = read_two(tmp_path, unknown=1)
    assert (row.id, row.split) == ("ubench/acevedo_et_al_2020/913ab0f2/questions/modality", "test")
    assert (row.task, row.modality, row.licence) == (Task.MULTIPLE_CHOICE, "microscopy", "CC-BY-4.0")
    options = ("fluorescence microscopy", "light microscopy", NONE)
    assert row.turns == (Turn("Which modality?", "light microscopy", options=options),)
    assert row.images == (Image("913ab0f2", data=b"not an image"),)
    assert row.groups.question == "asked"
    assert row.provenance == Provenance(f"{FOLDER}/{SHARDS[0]}", "row 1 questions/modality")
    kept = {name: value for name, value in ROW.items() if isinstance(value, str) and name in row.attributes}
    assert len(kept) == 11
    assert row.attributes == {"question_type": "modality", "microns_per_pixel": "0.1", "synthetic": "false"} | kept
    assert row.labels == (), "the number in `label` is not read"


def test_a_caption_is_kept_whole(tmp_path: Path) -> None:
    question, row = read_two(tmp_path)
    assert row.id == "ubench/acevedo_et_al_2020/913ab0f2/captions/modality_0"
    assert row.task is Task.CAPTION
    assert row.turns == (Turn("", "A micrograph acquired through light microscopy."),)
    assert row.images == question.images
    assert row.groups == question.groups
    assert row.attributes == question.attributes | {"tags": "coarse; x"}


@pytest.mark.parametrize(
    ("template", "option", "caption"),
    [
        ("A micrograph of {class}.", "A micrograph of a cell.", "A micrograph of a cell."),
        ("A micrograph of {class}.", "a cell", "A micrograph of a cell."),
        ("A {class} cell", "dead", "A dead cell"),
        ("{class}", "A dead cell", "A dead cell"),
        ("Which?", "A dead cell", "A dead cell"),
    ],
)
def test_a_caption_is_the_filled_template(tmp_path: Path, template: str, option: str, caption: str) -> None:
    row = read_caption(tmp_path, question=template, options=["x", option])
    assert row.turns[0].answer == caption


@pytest.mark.parametrize(("index", "answer"), [(0, "a"), ("0", "a"), (2, "c"), ("2", "c"), (" 1 ", "b")])
def test_the_index_of_the_answer_counts_from_0(tmp_path: Path, index: Any, answer: str) -> None:
    options = ["a", "b", "c"]
    question = read_question(tmp_path, answer_idx=index, answer=None, options=options)
    caption = read_caption(tmp_path, answer_idx=index, question="{class}", options=options)
    for row in (question, caption):
        assert row.turns[0].answer == answer


def test_none_of_the_above_is_an_answer_but_not_a_caption(tmp_path: Path) -> None:
    row = read_question(tmp_path, answer_idx=2, answer=NONE)
    assert row.turns[0].answer == NONE
    row = read_caption(tmp_path, answer_idx="2", options=["a", "b", NONE])
    assert row.reason is Reason.ANSWER_EMPTY


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": None}, Reason.FIELD_MISSING),
        ({"question": " "}, Reason.QUESTION_EMPTY),
        ({"options": None}, Reason.FIELD_MISSING),
        ({"options": ["a", None]}, Reason.FIELD_MISSING),
        ({"options": []}, Reason.ANSWER_NOT_AN_OPTION),
        ({"options": ["a", " "], "answer": None}, Reason.ANSWER_EMPTY),
        ({"answer": None, "answer_idx": None}, Reason.ANSWER_EMPTY),
        ({"answer_idx": 0}, Reason.ANSWER_NOT_AN_OPTION),  # `answer` disagrees
        ({"answer_idx": None, "answer": "x"}, Reason.ANSWER_NOT_AN_OPTION),
        *(({"answer_idx": place}, Reason.ANSWER_NOT_AN_OPTION) for place in (3, -1, 10**12, "B", "1.5", "9" * 5000)),
    ],
)
def test_an_unusable_entry_is_rejected_alone(tmp_path: Path, changes: dict[str, Any], reason: Reason) -> None:
    row, caption = read_two(tmp_path, questions={"modality": QUESTION | changes})
    assert (row.reason, row.id) == (reason, "ubench/acevedo_et_al_2020/913ab0f2/questions/modality")
    assert isinstance(caption, Sample)


def test_an_unusable_row_rejects_all_of_its_entries(tmp_path: Path) -> None:
    for field, value, reason in (
        ("image_id", " ", Reason.FIELD_MISSING),
        ("image", None, Reason.IMAGE_MISSING),
        ("image", {"bytes": b"", "path": "elsewhere.png"}, Reason.IMAGE_MISSING),
    ):
        assert {getattr(row, "reason", None) for row in read_two(tmp_path, **{field: value})} == {reason}


def test_null_entries_are_not_records(tmp_path: Path) -> None:
    stain = QUESTION | {"name": "stain"}
    rows = [ROW, ROW | {"image_id": "b", "questions": {"stain": stain}}, ROW | {"image_id": "c", "captions": None}]
    empty = {"answer": None, "question": None, "options": [], "tags": []}
    rows.append(ROW | {"image_id": "d", "questions": {"modality": QUESTION, "stain": empty}})
    found = [row.id.split("/")[2:] for row in read(write(tmp_path, rows))]
    assert ["b", "questions", "stain"] in found
    assert Counter(image_id for image_id, *_ in found) == {"913ab0f2": 2, "b": 2, "c": 1, "d": 2}


def test_a_row_without_entries_is_not_lost(tmp_path: Path) -> None:
    bare = ROW | {"image_id": "bare", "questions": None, "captions": {"modality_0": None}}
    *_, last = read(write(tmp_path, [ROW, bare]))
    assert (last.reason, last.provenance.record) == (Reason.FIELD_MISSING, "row 2")


def test_an_image_may_be_in_rows_of_several_datasets(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [{"dataset": "burgess_et_al_2024_texture"}, {"dataset": None}, {"stain": "H&E"}]
    first, second, repeated = (list(read(write(tmp_path, [ROW, ROW | each])))[2:] for each in changes)
    assert [row.id.split("/")[1] for row in first] == ["burgess_et_al_2024_texture"] * 2
    assert {row.images[0].image_id for row in first if isinstance(row, Sample)} == {"913ab0f2"}
    assert [row.id for row in second] == ["ubench/913ab0f2/questions/modality", "ubench/913ab0f2/captions/modality_0"]
    assert all(isinstance(row, Rejected) and row.reason is Reason.ID_REPEATED for row in repeated)
    assert len({row.id for row in repeated}) == len(repeated) == 2


def test_a_sample_has_the_license_of_its_row(tmp_path: Path) -> None:
    stated = (("CC-BY-NC-4.0", "CC-BY-NC-4.0"), ("CC BY-NC 4.0", "CC-BY-NC-4.0"), ("own terms", "own terms"))
    for licence, expected in (*stated, (None, card.licence), ("", card.licence)):
        row, _ = read_two(tmp_path, license=licence)
        assert row.licence == expected


def test_optional_columns_may_be_null_or_absent(tmp_path: Path) -> None:
    optional = set(ROW) - {"image_id", "image", "questions", "captions"}
    row, _ = read_two(tmp_path, **dict.fromkeys(optional))
    assert row.attributes == {"question_type": "modality"}
    write(tmp_path, [{name: value for name, value in ROW.items() if name not in optional}])
    assert all(isinstance(each, Sample) and "dataset" not in each.attributes for each in read(tmp_path))


def test_missing_shards_are_logged(copy_of: FolderOf, caplog: pytest.LogCaptureFixture) -> None:
    raw = copy_of("ubench")
    whole = list(read(raw))
    assert not caplog.messages
    (raw / FOLDER / SHARDS[2]).unlink()
    (raw / FOLDER / SHARDS[5]).unlink()
    (raw / FOLDER / "dataset_info.json").unlink()
    left = list(read(raw))
    assert [row for row in whole if row.provenance.file.rpartition("/")[2] not in (SHARDS[2], SHARDS[5])] == left
    assert "missing shards ubench-test-00002-of-00007.arrow, ubench-test-00005-of-00007.arrow" in caplog.text
