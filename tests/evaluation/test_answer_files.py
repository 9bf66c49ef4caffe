"""Files of answers as other tools write them, read by `score`."""

import gzip
import io
import json
from pathlib import Path

import pandas as pd
import pytest

from tests.evaluation.test_commands import _published, rows, samples, score, scored, write_jsonl

__all__ = ["_published"]  # a fixture of every test


@pytest.mark.parametrize(
    "name", ["a.csv", "a.tsv", "tabs.csv", "excel.csv", "a.csv.gz", "a.jsonl.gz", "a.json", "a.json.gz"]
)
def test_each_file_scores_as_json_lines(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = rows(wrong=3)
    expected = scored(write_jsonl(given), capsys)
    text = io.StringIO()
    if ".jsonl" in name:
        text.write(Path("answers.jsonl").read_text("utf-8"))
    elif ".json" in name:
        json.dump(given, text, indent=1)
    else:
        delimiter = {"a.tsv": "\t", "tabs.csv": "\t", "excel.csv": ";"}.get(name, ",")
        pd.DataFrame(given).assign(note="a, b").to_csv(text, sep=delimiter, index=False)
    data = text.getvalue().encode("utf-8-sig" if name == "excel.csv" else "utf-8")
    Path(name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert scored(name, capsys) == expected


def test_the_columns_of_llava(capsys: pytest.CaptureFixture[str]) -> None:
    given = rows(wrong=3)
    expected = scored(write_jsonl(given), capsys)
    theirs = [{"question_id": row["id"], "prompt": "?", "text": row["answer"], "model_id": "x"} for row in given]
    assert scored(write_jsonl(theirs, "theirs.jsonl"), capsys) == expected


@pytest.mark.parametrize("column", ["prediction", "response"])
def test_beside_a_prediction_the_answer_is_the_reference(column: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = rows(wrong=3)
    expected = scored(write_jsonl(given), capsys)
    theirs = [
        {"id": row["id"], "answer": sample.turns[-1].answer, column: row["answer"]}
        for row, sample in zip(given, samples(), strict=True)
    ]
    assert scored(write_jsonl(theirs, "theirs.jsonl"), capsys) == expected


def test_columns_that_are_not_read_are_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert score(write_jsonl([{**row, "answer": "", "prediction": row["answer"], "model": "x"} for row in rows()])) == 0
    assert "answers.jsonl: the answers are in the column prediction; not read: answer, model" in caplog.text
