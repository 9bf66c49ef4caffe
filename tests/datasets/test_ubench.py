from typing import Any

import pytest

from openmedq.datasets.ubench import FOLDER, NONE, SHARDS, card, read
from openmedq.schema import Reason, Rejected, Sample
from tests.datasets.conftest import FolderOf
from tests.datasets.records import TABLES, Changed, ChangedOf, rewrite

CAPTION = {"id": "asked", "name": "size", "question": "{class}", "options": ["a", "b ", NONE], "answer_idx": "1"}
QUESTION = CAPTION | {"question": " Which size? ", "answer": "b", "answer_idx": 1}
KEYS = {"questions": "classification", "captions": "classification_0"}


def read_entry(record: Changed, kind: str, **changes: Any) -> Sample | Rejected:
    entry = (QUESTION if kind == "questions" else CAPTION) | changes
    first, *_ = record.rows({"questions": None, "captions": None, kind: {KEYS[kind]: entry}})
    return first


@pytest.mark.parametrize(
    ("template", "option", "caption"),
    [
        ("A micrograph of {class}.", "A micrograph of a cell.", "A micrograph of a cell."),
        ("A micrograph of {class}.", "a cell", "A micrograph of a cell."),
        ("A {class} cell", "dead", "A dead cell"),
        ("Which?", "A dead cell", "A dead cell"),
    ],
)
def test_a_caption_is_the_filled_template(changed: ChangedOf, template: str, option: str, caption: str) -> None:
    row = read_entry(changed("ubench"), "captions", question=template, options=["x", option])
    assert row.turns[0].answer == caption


def test_the_index_of_the_answer_counts_from_0_and_none_of_the_above_is_no_caption(changed: ChangedOf) -> None:
    record = changed("ubench")
    for place, answer in enumerate(("a", "b", NONE)):
        row = read_entry(record, "questions", answer_idx=place, answer=None)
        assert (row.turns[0].question, row.turns[0].answer) == ("Which size?", answer)
        row = read_entry(record, "captions", answer_idx=f" {place} ")
        if answer == NONE:
            assert row.reason is Reason.ANSWER_EMPTY
        else:
            assert row.turns[0].answer == answer


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
        *(({"answer_idx": place}, Reason.ANSWER_NOT_AN_OPTION) for place in (3, -1, 10**12)),
    ],
)
def test_an_unusable_entry_is_rejected_alone(changed: ChangedOf, changes: dict[str, Any], reason: Reason) -> None:
    entries = {"questions": {"classification": QUESTION | changes}, "captions": {"classification_0": CAPTION}}
    rejected, caption, *_ = changed("ubench").rows(entries)
    assert getattr(rejected, "reason", None) is reason
    assert isinstance(caption, Sample)


def test_null_entries_are_not_records_and_a_row_without_entries_is_not_lost(changed: ChangedOf) -> None:
    record = changed("ubench")
    empty = {"answer": None, "question": None, "options": [], "tags": []}
    first, second, *_ = record.rows({"questions": {"classification": QUESTION, "stain": empty}, "captions": None})
    assert (first.provenance.record, second.provenance.record[:5]) == ("row 1 questions/classification", "row 2")
    bare, *_ = record.rows({"questions": None, "captions": {"modality_0": None}})
    assert (getattr(bare, "reason", None), bare.provenance.record) == (Reason.FIELD_MISSING, "row 1")


def test_a_row_that_is_repeated_is_rejected(copy_of: FolderOf) -> None:
    raw = copy_of("ubench")
    num_rows = len(list(read(raw)))
    rewrite(raw, TABLES["ubench"], lambda rows: [rows[0], *rows])
    rows = list(read(raw))
    repeated = [row for row in rows if isinstance(row, Rejected)]
    assert len(repeated) == len({row.id for row in repeated}) == len(rows) - num_rows > 0
    assert {row.reason for row in repeated} == {Reason.ID_REPEATED}


def test_a_sample_has_the_license_of_its_row_and_optional_columns_may_be_null(changed: ChangedOf) -> None:
    record = changed("ubench")
    stated = (("CC-BY-NC-4.0", "CC-BY-NC-4.0"), ("CC BY-NC 4.0", "CC-BY-NC-4.0"), ("own terms", "own terms"))
    for licence, expected in (*stated, (None, card.licence), ("", card.licence)):
        assert record.sample({"license": licence}).licence == expected
    needed = {"question_type", *(name for name in record.first.attributes if name.startswith("num_"))}
    optional = dict.fromkeys(record.first.attributes.keys() - needed)
    assert record.rows(optional)[0].attributes == {"question_type": "classification"}


def test_missing_shards_are_logged(copy_of: FolderOf, caplog: pytest.LogCaptureFixture) -> None:
    raw = copy_of("ubench")
    whole = list(read(raw))
    assert not caplog.messages
    (raw / FOLDER / SHARDS[2]).unlink()
    (raw / FOLDER / SHARDS[5]).unlink()
    assert [(row.id, row.reason) for row in list(read(raw))[-6:]] == [
        (f"ubench/row-{number}", Reason.RECORD_ABSENT) for number in range(16, 22)
    ]
    caplog.clear()
    (raw / FOLDER / "dataset_info.json").unlink()
    left = list(read(raw))
    assert [row for row in whole if row.provenance.file.rpartition("/")[2] not in (SHARDS[2], SHARDS[5])] == left
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert message.endswith("missing shards ubench-test-00002-of-00007.arrow, ubench-test-00005-of-00007.arrow")
