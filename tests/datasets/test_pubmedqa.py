import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.datasets.pubmedqa import read
from openmedq.errors import SourceError
from openmedq.schema import Reason
from tests.datasets.conftest import FolderOf
from tests.datasets.records import ChangedOf


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


def test_optional_fields_may_be_absent(changed: ChangedOf) -> None:
    record = changed("pubmedqa")
    for name in ("LABELS", "MESHES", "YEAR", "LONG_ANSWER", "reasoning_free_pred"):
        for value in (None, ..., 7):
            record.sample({name: value})
    row = record.sample({"CONTEXTS": ["We asked.", "It helped. "], "LABELS": ["ONE TOO FEW"]})
    assert row.turns[0].context == "We asked.\nIt helped."


def test_an_unknown_test_question_is_rejected_and_a_damaged_ground_truth_is_an_error(copy_of: FolderOf) -> None:
    raw = copy_of("pubmedqa")
    path = raw / "data/test_ground_truth.json"
    text = json.dumps(json.loads(path.read_text()) | {"1": "yes"})
    path.write_text(text, encoding="utf-8")
    (absent,) = [row for row in read(raw) if getattr(row, "reason", None) is Reason.RECORD_ABSENT]
    assert (absent.id, absent.split) == ("pubmedqa/1", "test")
    for damaged, message in (("{}", r"contains no id; .*would train"), (text[:-20], "without the complete list, test")):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(SourceError, match=rf"test_ground_truth\.json: .*{message}"):
            list(read(raw))


def write_hub(raw: Path) -> None:
    """PQA-L in the columns of the hub, which stores predictions as lists of letters."""
    rows = []
    for pubmed_id, record in json.loads((raw / "data/ori_pqal.json").read_text(encoding="utf-8")).items():
        context = {name.lower(): record[name] for name in ("CONTEXTS", "LABELS", "MESHES")}
        context |= {name: list(record[name]) for name in ("reasoning_required_pred", "reasoning_free_pred")}
        fields = {"question": record["QUESTION"], "context": context, "long_answer": record["LONG_ANSWER"]}
        rows.append({"pubid": int(pubmed_id), **fields, "final_decision": record["final_decision"]})
    (raw / "pqa_labeled").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), raw / "pqa_labeled/train-00000-of-00001.parquet")


def test_both_layouts_give_the_same_samples(copy_of: FolderOf, caplog: pytest.LogCaptureFixture) -> None:
    def summarize() -> list[tuple[Any, ...]]:
        rows = list(read(raw))
        known = [{**getattr(row, "attributes", {}), "year": ""} for row in rows]
        return [(row.id, row.split, getattr(row, "turns", None), kept) for row, kept in zip(rows, known, strict=True)]

    raw = copy_of("pubmedqa")
    expected = summarize()
    unshard(raw)
    assert summarize() == expected
    write_hub(raw)
    assert summarize() == expected
    assert sum("pqa_labeled" in message and "not read" in message for message in caplog.messages) == 1
    (raw / "data/ori_pqal.json").unlink()
    assert summarize() == expected
    (raw / "data/test_ground_truth.json").unlink()
    with pytest.raises(SourceError, match=r"test_ground_truth\.json: not found; .*would train the model; get it from"):
        next(read(raw))
    shutil.rmtree(raw / "pqa_labeled")
    assert Counter(row.split for row in read(raw)) == {"artificial": 120, "unlabeled": 10}
