import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from openmedq.datasets.medqa import read
from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Sample
from tests.datasets import faults
from tests.datasets.conftest import FolderOf

FOUR = "data_clean/questions/US/4_options/phrases_no_exclude_{}.jsonl"
FIVE = "data_clean/questions/US/{}.jsonl"
RECORD: dict[str, Any] = {
    "question": " A man has a fever.\nWhat is it? ",
    "answer": "Gout",
    "options": {"B": "Gout ", "A": "Lupus", "D": "Flu", "C": "Mumps"},
    "meta_info": "step1",
    "answer_idx": "B",
    "metamap_phrases": ["man", " fever", ""],
}


def write(raw: Path, records: list[Any], name: str = FOUR.format("train")) -> Path:
    (raw / name).parent.mkdir(parents=True, exist_ok=True)
    (raw / name).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return raw


def pack(raw: Path, kind: int = zipfile.ZIP_DEFLATED, **files: list[Any]) -> Path:
    with zipfile.ZipFile(raw / "data_clean.zip", "w", kind) as archive:
        for place, records in files.items():
            archive.writestr(place, "".join(json.dumps(record) + "\n" for record in records))
    return raw


def read_one(raw: Path, **changes: Any) -> Sample | Rejected:
    """The row of a changed record, read together with a good one; a field that is `...` is omitted."""
    record = {key: value for key, value in (RECORD | changes).items() if value is not ...}
    first, second = read(write(raw, [record, RECORD]))
    assert isinstance(second, Sample)
    return first


def said(raw: Path) -> dict[str, tuple[str, str]]:
    """Question and answer by sample id."""
    rows = list(read(raw))
    assert all(isinstance(row, Sample) for row in rows)
    return {row.id: (row.turns[0].question, row.turns[0].answer) for row in rows if isinstance(row, Sample)}


def test_a_record_is_kept_whole(tmp_path: Path) -> None:
    row = read_one(tmp_path, unknown=[1])
    assert (row.id, row.split) == ("medqa/train-1", "train")
    assert (row.provenance.file, row.provenance.record) == (FOUR.format("train"), "line 1")
    (turn,) = row.turns
    assert turn.question == "A man has a fever.\nWhat is it?"
    assert turn.options == ("Lupus", "Gout", "Mumps", "Flu")  # by letter, whatever the order in the file
    assert turn.answer == "Gout"
    assert row.attributes == {"meta_info": "step1", "metamap_phrases": "man; fever"}
    assert "exam preparation" in row.licence


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *(
            ({name: value}, Reason.FIELD_MISSING)
            for name in ("question", "answer", "options", "answer_idx")
            for value in (..., None)
        ),
        ({"question": " "}, Reason.QUESTION_EMPTY),
        ({"answer": ""}, Reason.ANSWER_EMPTY),
        ({"options": ["Lupus", "Gout"]}, Reason.FIELD_MISSING),
        ({"options": {"A": "Lupus", "B": None}}, Reason.FIELD_MISSING),
        ({"options": {"A": "Lupus", "\ud800": "Gout"}}, Reason.FIELD_MISSING),
        ({"answer_idx": "E"}, Reason.ANSWER_NOT_AN_OPTION),
        ({"answer_idx": "A"}, Reason.ANSWER_NOT_AN_OPTION),
        ({"answer": "Measles"}, Reason.ANSWER_NOT_AN_OPTION),
        ({"question": "\ud800"}, Reason.NOT_UTF8),
    ],
)
def test_what_can_not_be_represented_is_rejected(tmp_path: Path, changes: dict[str, Any], reason: Reason) -> None:
    row = read_one(tmp_path, **changes)
    assert (row.reason, row.id, row.split) == (reason, "medqa/train-1", "train")
    assert "Gout" not in row.detail


@pytest.mark.parametrize("name", [FOUR.format("dev"), "phrases_no_exclude_dev.jsonl"])
def test_one_split_alone_is_enough(tmp_path: Path, name: str) -> None:
    assert Counter(row.split for row in read(write(tmp_path, [RECORD], name))) == {"dev": 1}


def test_the_question_bank_is_never_read(copy_of: FolderOf) -> None:
    raw = copy_of("medqa")
    test = {question for row_id, (question, _) in said(raw).items() if row_id.startswith("medqa/test")}
    faults.unpack(raw, 1)
    bank = (raw / FIVE.format("US_qbank")).read_text(encoding="utf-8")
    assert all(json.dumps(question)[1:-1] in bank for question in test)
    for path in raw.rglob("*.jsonl"):
        if path.name != "US_qbank.jsonl":
            path.unlink()
    with pytest.raises(SourceError, match=r"no `data_clean\.zip`.*mixes train and test"):
        list(read(raw))


def test_other_languages_are_not_read(tmp_path: Path) -> None:
    for place in ("Mainland", "Mainland/4_options", "Taiwan", "Taiwan/tw_translated_jsonl/en"):
        write(tmp_path, [RECORD], f"data_clean/questions/{place}/train.jsonl")
    write(tmp_path, [RECORD], "data_clean/questions/US/metamap_extracted_phrases/train/phrases_train.jsonl")
    with pytest.raises(SourceError, match=r"no `data_clean\.zip`"):
        list(read(tmp_path))
    pack(tmp_path, **{"data_clean/questions/Mainland/train.jsonl": [RECORD]})
    with pytest.raises(SourceError, match=r"no `data_clean\.zip`"):
        list(read(tmp_path))
