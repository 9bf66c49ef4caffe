"""PubMedQA: three parts in two layouts, and the ids of the test split."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.datasets import pubmedqa
from openmedq.datasets.pubmedqa import card, read
from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Role, Sample
from tests.datasets.conftest import FolderOf, samples

RECORD = {
    "QUESTION": " Does it help? ",
    "CONTEXTS": ["We asked.", "It helped. "],
    "LABELS": ["METHODS", "RESULTS"],
    "MESHES": ["Humans", "Adult"],
    "YEAR": "2011",
    "reasoning_required_pred": "yes",
    "reasoning_free_pred": "no",
    "final_decision": "yes",
    "LONG_ANSWER": "In conclusion it helps.",
}
GOOD = "99"


def write(raw: Path, records: Any, test_ids: Any = None, name: str = "data/ori_pqal.json") -> Path:
    (raw / "data").mkdir(parents=True, exist_ok=True)
    (raw / name).write_text(json.dumps(records), encoding="utf-8")
    truth = {GOOD: "yes"} if test_ids is None else test_ids
    (raw / "data/test_ground_truth.json").write_text(json.dumps(truth), encoding="utf-8")
    return raw


def unshard(raw: Path) -> Path:
    """The miniature with its shards as JSON files, as on GitHub and Google Drive."""
    for letter, part in {"a": "artificial", "u": "unlabeled"}.items():
        folder = raw / f"pqa_{part}"
        records = {}
        for row in pq.read_table(folder / "train-00000-of-00001.parquet").to_pylist():
            fields = {"QUESTION": row["question"], "LONG_ANSWER": row["long_answer"], "YEAR": "2011"}
            fields |= {name.upper(): texts for name, texts in row["context"].items()}
            fields |= {name: row[name] for name in ("final_decision",) if name in row}
            records[str(row["pubid"])] = fields
        (raw / f"data/ori_pqa{letter}.json").write_text(json.dumps(records), encoding="utf-8")
        shutil.rmtree(folder)
    return raw


def read_one(raw: Path, **changes: Any) -> Sample | Rejected:
    record = {key: value for key, value in (RECORD | changes).items() if value is not ...}
    first, second = read(write(raw, {"7": record, GOOD: RECORD}))
    assert isinstance(second, Sample)
    return first


def test_a_record_is_kept_whole(tmp_path: Path) -> None:
    row = read_one(tmp_path, unknown=[1])
    assert (row.id, row.split) == ("pubmedqa/7", "train")
    (turn,) = row.turns
    assert (turn.question, turn.answer, turn.options) == ("Does it help?", "yes", ("yes", "no", "maybe"))
    assert turn.context == "METHODS: We asked.\nRESULTS: It helped."
    assert row.attributes == {
        "answer_type": "closed",
        "long_answer": "In conclusion it helps.",
        "meshes": "Humans; Adult",
        "year": "2011",
        "reasoning_required_pred": "yes",
        "reasoning_free_pred": "no",
    }
    assert row.images == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *(({name: ...}, Reason.FIELD_MISSING) for name in ("QUESTION", "CONTEXTS", "final_decision")),
        ({"CONTEXTS": ["one", None]}, Reason.FIELD_MISSING),
        ({"QUESTION": " "}, Reason.QUESTION_EMPTY),
        ({"final_decision": ""}, Reason.ANSWER_EMPTY),
        ({"final_decision": "perhaps"}, Reason.ANSWER_NOT_AN_OPTION),
        ({"LONG_ANSWER": "\ud800"}, Reason.NOT_UTF8),
    ],
)
def test_an_unusable_record_is_rejected(tmp_path: Path, changes: dict[str, Any], reason: Reason) -> None:
    row = read_one(tmp_path, **changes)
    assert row.reason is reason


def test_optional_fields_may_be_absent(tmp_path: Path) -> None:
    for name in ("LABELS", "MESHES", "YEAR", "LONG_ANSWER", "reasoning_free_pred"):
        for value in (None, ..., 7):
            assert isinstance(read_one(tmp_path, **{name: value}), Sample)
    row = read_one(tmp_path, LABELS=["ONE TOO FEW"])
    assert row.turns[0].context == "We asked.\nIt helped."


def test_a_repeated_key_is_rejected(tmp_path: Path) -> None:
    write(tmp_path, {})
    one = json.dumps(RECORD)
    (tmp_path / "data/ori_pqal.json").write_text(f'{{"7": {one}, "7": {one}, "": {one}}}', encoding="utf-8")
    kept, repeated, nameless, *_ = read(tmp_path)
    assert isinstance(kept, Sample)
    assert (repeated.reason, nameless.reason) == (Reason.ID_REPEATED, Reason.FIELD_MISSING)


def test_records_of_the_unlabeled_part_are_rejected_one_by_one(copy_of: FolderOf, tmp_path: Path) -> None:
    hidden = [row for row in read(copy_of("pubmedqa")) if row.split == "unlabeled"]
    assert [row.reason for row in hidden if isinstance(row, Rejected)] == [Reason.ANSWER_WITHHELD] * 10
    assert card.published_rows["unlabeled"] == 61_249
    records = {"1": {**RECORD, "final_decision": None}, "2": RECORD, "3": {**RECORD, "QUESTION": ""}}
    first, decided, empty = read(write(tmp_path / "mixed", records, name="data/ori_pqau.json"))
    assert first.reason is Reason.ANSWER_WITHHELD
    assert isinstance(decided, Sample)
    assert card.roles[decided.split] is Role.VALIDATION
    assert empty.reason is Reason.QUESTION_EMPTY


def test_a_ground_truth_without_ids_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"test_ground_truth\.json: contains no id; .*would train"):
        list(read(write(tmp_path, {"7": RECORD}, {})))


# The Parquet files of the hub


def to_hub(pubmed_id: str, record: dict[str, Any]) -> dict[str, Any]:
    """A record of the first layout in the columns of the hub."""
    context: dict[str, Any] = {name.lower(): record[name] for name in ("CONTEXTS", "LABELS", "MESHES")}
    for name in ("reasoning_required_pred", "reasoning_free_pred"):
        context[name] = list(record.get(name, ""))
    return {
        "pubid": int(pubmed_id),
        "question": record["QUESTION"],
        "context": context,
        "long_answer": record["LONG_ANSWER"],
        "final_decision": record.get("final_decision"),
    }


def write_hub(raw: Path, part: str, records: dict[str, Any]) -> Path:
    folder = raw / f"pqa_{part}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [to_hub(key, record) for key, record in records.items()]
    for row in rows if part == "unlabeled" else ():
        del row["final_decision"]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train-00000-of-00001.parquet")
    return raw


def convert(raw: Path, hub: Path) -> Path:
    """The miniature in the hub's layout, with the ground truth of the first layout."""
    for letter, part in {"l": "labeled", "a": "artificial", "u": "unlabeled"}.items():
        write_hub(hub, part, json.loads((raw / f"data/ori_pqa{letter}.json").read_text(encoding="utf-8")))
    shutil.copy(raw / "data/test_ground_truth.json", hub)
    return hub


def test_both_layouts_and_their_mix_give_the_same_samples(copy_of: FolderOf, tmp_path: Path) -> None:
    raw = copy_of("pubmedqa")
    mixed = list(read(raw))
    unshard(raw)
    hub = convert(raw, tmp_path / "hub")
    ours, theirs = list(read(raw)), list(read(hub))
    assert [(row.id, row.split, type(row)) for row in ours] == [(row.id, row.split, type(row)) for row in theirs]
    assert [row.id for row in mixed] == [row.id for row in ours]
    for expected, row in zip(ours, mixed, strict=True):
        assert row.split == expected.split
        assert getattr(row, "turns", None) == getattr(expected, "turns", None)
    for one, two in zip(samples(read(raw)), samples(read(hub)), strict=True):
        assert one.turns == two.turns
        assert {name: value for name, value in one.attributes.items() if name != "year"} == two.attributes
    assert theirs[0].provenance.record == "row 1"
    assert theirs[0].provenance.file == "pqa_labeled/train-00000-of-00001.parquet"
    assert {row.attributes.get("reasoning_free_pred") for row in samples(read(hub))} == {"yes", "no", "maybe", None}


def test_the_hub_alone_does_not_have_the_test_ids(copy_of: FolderOf, tmp_path: Path) -> None:
    hub = convert(unshard(copy_of("pubmedqa")), tmp_path / "hub")
    (hub / "test_ground_truth.json").unlink()
    with pytest.raises(
        SourceError, match=r"test_ground_truth\.json: not found; .*would train the model; get it from https"
    ):
        next(read(hub))
    shutil.rmtree(hub / "pqa_labeled")
    assert Counter(row.split for row in read(hub)) == {"artificial": 120, "unlabeled": 10}


def test_of_both_layouts_the_first_is_read(copy_of: FolderOf, caplog: pytest.LogCaptureFixture) -> None:
    raw = unshard(copy_of("pubmedqa"))
    expected = list(read(raw))
    convert(raw, raw)
    (raw / "test_ground_truth.json").unlink()
    assert list(read(raw)) == expected
    assert sum("not read" in message for message in caplog.messages) == 3
    (raw / "data/ori_pqaa.json").unlink()
    assert [row.id for row in read(raw)] == [row.id for row in expected]


def test_the_ground_truth_is_the_test(miniature_of: FolderOf) -> None:
    raw = miniature_of("pubmedqa")
    rows = [row for row in read(raw) if isinstance(row, Sample)]
    truth = json.loads((raw / "data/test_ground_truth.json").read_text(encoding="utf-8"))
    assert {row.id.split("/")[1]: row.turns[0].answer for row in rows if row.split == "test"} == truth
    assert Counter(truth.values()) == {"yes": 10, "no": 10, "maybe": 10}
    assert Counter(row.split for row in rows) == {"train": 30, "test": 30, "artificial": 120}
    assert len({row.turns[0].question for row in rows}) == len(rows)


def test_real_files_are_read_whole(real_data: Path) -> None:
    rows = list(pubmedqa.read(real_data / "PubMedQA"))
    assert all(isinstance(row, Sample) for row in rows)
    assert Counter(row.split for row in rows) == {"train": 500, "test": 500}
    assert Counter(row.turns[0].answer for row in rows) == {"yes": 552, "no": 338, "maybe": 110}
    assert all(row.turns[0].context.count("\n") for row in rows[:100])
