"""`questions` and `score` on a folder of published files, in a folder where no stage has run."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq import synthetic
from openmedq.cli import main
from openmedq.datasets.card import Access
from openmedq.evaluation.answer_files import read_answers
from openmedq.evaluation.questions import scan
from openmedq.schema import CLEAN_SCHEMA, Sample

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    synthetic.write("slake", Path("raw"), seed=0)


def samples() -> list[Sample]:
    return [item for item in scan("slake", Path("raw")) if isinstance(item, Sample)]


def rows(*, wrong: int = 0) -> list[Row]:
    """The right answer to each question but the first `wrong` ones."""
    return [
        {"id": sample.id, "answer": "nothing" if number < wrong else sample.turns[-1].answer}
        for number, sample in enumerate(samples())
    ]


def write_jsonl(given: list[Row], name: str = "answers.jsonl", encoding: str = "utf-8") -> str:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in given), encoding)
    return name


def score(file: str, *options: str) -> int:
    return main(["score", file, "--dataset", "slake", "--raw", "raw", "--resamples", "50", *options])


def scored(file: str, capsys: pytest.CaptureFixture[str]) -> Row:
    capsys.readouterr()
    assert score(file, "--json") == 0
    tree: Row = json.loads(capsys.readouterr().out.splitlines()[-1])
    return tree


def test_questions_have_ids_and_images_and_no_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["questions", "slake", "--raw", "raw", "out"]) == 0
    lines = [json.loads(line) for line in Path("out/questions.jsonl").read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == [sample.id for sample in samples()]
    assert all(set(line) == {"id", "question", "options", "context", "task", "images", "image_ids"} for line in lines)
    images = {name for line in lines for name in line["images"]}
    assert {str(path.relative_to("out")) for path in Path("out/images").iterdir()} == images
    assert f"{len(lines)} questions, {len(images)} images" in capsys.readouterr().out
    assert main(["questions", "slake", "--raw", "raw", "out"]) == 1
    assert capsys.readouterr().err == "error: out: exists and is not an empty folder; choose another one\n"


def test_questions_that_cannot_all_be_read_leave_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.write("pathvqa", Path("damaged"), seed=0)
    last = max(Path("damaged/data").glob("test-*"))
    last.write_bytes(last.read_bytes()[:-1000])
    assert main(["questions", "pathvqa", "--raw", "damaged", "out"]) == 1
    assert f"error: {last}: not a whole Parquet file" in capsys.readouterr().err
    assert not Path("out").exists()


def test_an_answer_to_each_question_scores_100(capsys: pytest.CaptureFixture[str]) -> None:
    tree = scored(write_jsonl(rows()), capsys)
    assert tree["counts"] == {
        "scored": len(rows()),
        "questions": len(rows()),
        **dict.fromkeys(("missing", "duplicate", "unknown", "empty"), 0),
        "not_readable": tree["counts"]["not_readable"],
    }
    own = tree["slake"]
    assert own["exact_match"] == own["bleu_1"] == own["open_recall"] == own["closed_accuracy"] == 100
    assert set(own["modality"]) == {"CT", "MRI", "X-Ray"}
    assert sum(part["num_rows"] for part in own["organ"].values()) == own["num_rows"]


@pytest.mark.parametrize(
    "form",
    ["parquet", "csv.gz", "tsv", "utf-16", "utf-8-sig", "short ids", "3.0", "by question", "windows", "its own table"],
)
def test_each_form_of_the_file_scores_alike(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = rows(wrong=3)
    expected = scored(write_jsonl(given), capsys)
    if form == "parquet":
        file = "answers.parquet"
        pq.write_table(pa.Table.from_pylist(given), file)
    elif form in ("csv.gz", "tsv"):
        file = f"answers.{form}"
        pd.DataFrame(given).assign(note="a, b").to_csv(file, sep="\t" if form == "tsv" else ",", index=False)
    elif form == "short ids":
        file = write_jsonl([row | {"id": f" {row['id'].removeprefix('slake/')}"} for row in given], "other.jsonl")
    elif form == "3.0":
        file = "answers.csv"
        numbers = [float(row["id"].removeprefix("slake/")) for row in given]
        pd.DataFrame(given).assign(id=numbers).to_csv(file, index=False)
    elif form in ("by question", "windows"):
        asked = [
            {
                "question": f" {sample.turns[-1].question.upper()} ",
                "image": f"/data/imgs/{sample.images[0].image_id}".replace("/", "\\" if form == "windows" else "/"),
                "answer": row["answer"],
            }
            for sample, row in zip(samples(), given, strict=True)
        ]
        file = write_jsonl(asked, "other.jsonl")
    elif form == "its own table":
        file = "table.parquet"
        assert score("answers.jsonl", "--output", file) == 0
    else:
        file = write_jsonl(given, "other.jsonl", form)
    assert scored(file, capsys) == expected


def test_whole_numbers_are_those_of_the_file_that_pandas_read() -> None:
    """pandas makes 3.0 of 3 in a column with an empty cell."""
    table = pa.table({"id": pa.array([7.0, 8.0, None]), "answer": pa.array([3.0, None, 2.5])})
    pq.write_table(table.slice(0, 2), "numbers.parquet")
    assert read_answers(Path("numbers.parquet")) == [{"id": "7", "answer": "3"}, {"id": "8", "answer": ""}]


def test_faults_are_counted_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    given = rows()
    missing = given.pop()["id"]
    given[1]["answer"] = None
    given += [{"id": given[0]["id"], "answer": "again"}, {"id": "slake/none", "answer": "x"}]
    tree = scored(write_jsonl(given), capsys)
    counts = tree["counts"]
    assert [counts[name] for name in ("missing", "duplicate", "unknown", "empty")] == [1, 1, 1, 1]
    assert tree["slake"]["num_rows"] == tree["slake"]["num_available"] - 1
    assert tree["slake"]["exact_match"] == pytest.approx(100 * (1 - 1 / counts["scored"]), abs=1e-4)
    assert score("answers.jsonl") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"no answer, not scored: 1 ({missing})" in shown
    assert f"answered again, only the first answer counts: 1 ({given[0]['id']})" in shown
    assert "not a question of the evaluation splits, ignored: 1 (slake/none)" in shown
    assert "empty answers, scored as wrong: 1" in shown


@pytest.mark.parametrize(
    ("file", "data", "said"),
    [
        ("a.jsonl", b'{"id": "1", "answer": ""}\n{"id": "2", "answer": "\xe9"}', ", line 2: answer is not UTF-8; save"),
        ("a.jsonl", b"1\n", ", line 1: is not a JSON object"),
        ("a.jsonl", b'{"id": "1", "answer": "\\ud800"}', ", line 1: answer is not UTF-8"),
        ("a.jsonl", b"", ": has no row"),
        ("a.jsonl", b'{"id": "1"}', ", line 1: has no answer; expected answer and id, or"),
        ("a.jsonl", b'{"question": "?", "answer": "x"}', ", line 1: has no image"),
        ("a.jsonl", b'{"id": "1", "answer": ["x"]}', ", line 1: answer is not a text or number"),
        ("a.jsonl", b'{"id": "1", "answer": true}', ", line 1: answer is not a text or number"),
        ("a.jsonl", b'{"id": 1, "response": "x"}\n{"id": 2, "answer": "x"}', ", line 2: has no response; expected"),
        ("a.jsonl", b'{"id": 1, "answer": "x"}\n{"id": 2, "response": "x"}', ", line 1: has no response; expected"),
        ("a.jsonl", b'{"id": "1", "answer": "x"}', ": no row belongs to a question of slake, whose ids are"),
        ("absent.jsonl", None, ": No such file"),
        ("a.parquet", b"PAR1", ": not a whole Parquet file ("),
        ("a.csv", b"ID|answer\n1|yes\n", ", line 2: has no question and no image and no answer; expected"),
        ("a.csv", b"id,answer\n1,yes,no\n", ", line 2: the row has 3 fields, the header 2"),
        ("a.txt", b"yes", ": is not a .jsonl, .csv, .tsv or .parquet file"),
    ],
)
def test_a_file_that_cannot_be_scored_is_one_line(
    file: str, data: bytes | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if data is not None:
        Path(file).write_bytes(data)
    assert score(file) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"error: {file}{said}") and line.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dataset", "nothing"], "nothing: no such dataset"),
        (["--dataset", "cxr8"], "cxr8: has no questions for evaluation"),
        (["--dataset", "slake"], "data/samples/slake: not found; add --raw DIR"),
        (["--dataset", "slake", "--raw", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_a_dataset_that_cannot_be_read_is_one_line(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", write_jsonl(rows()), *options]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("output", ["raw", "folder.parquet", "answers.jsonl"])
def test_the_output_replaces_no_folder_and_no_other_file(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder.parquet").mkdir()
    file = write_jsonl(rows())
    assert score(file, "--output", output) == 1
    assert capsys.readouterr().err == f"error: --output {output}: give the name of a .parquet file\n"
    assert samples() and len(read_answers(Path(file))) == len(rows())


@pytest.mark.usefixtures("folders_are_disks")
def test_the_output_may_be_on_another_disk() -> None:
    assert score(write_jsonl(rows()), "--output", "new/t.parquet") == 0
    assert [path.name for path in Path("new").iterdir()] == ["t.parquet"]


def write_clean(reasons: dict[str, str | None]) -> str:
    pq.write_table(pa.table([list(reasons), list(reasons.values())], CLEAN_SCHEMA), "c.parquet")
    return "c.parquet"


def test_clean_questions_are_scored_beside_all(capsys: pytest.CaptureFixture[str]) -> None:
    given = rows(wrong=6)
    reasons = {row["id"]: "near text" if number < 4 else None for number, row in enumerate(given[:-1])}
    capsys.readouterr()
    assert score(write_jsonl(given), "--clean", write_clean(reasons), "--output", "t.parquet", "--json") == 0
    shown, _, line = capsys.readouterr().out.rstrip().rpartition("\n")
    own = json.loads(line)["slake"]
    num = len(given)
    assert own["clean"]["num_rows"] == num - 5
    difference = 100 * ((num - 7) / (num - 5) - (num - 6) / num)
    assert own["difference_clean_exact_match"] == pytest.approx(difference, abs=1e-4)
    assert re.search(rf"Exact match .* {re.escape(f'{difference:+.1f}')} \(", shown)
    kept = pq.read_table("t.parquet")["contamination"].to_pylist()
    assert kept == ["near text"] * 4 + [None] * (num - 5) + ["not checked"]
    assert score("answers.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["slake"]["clean"] == {"num_rows": 0}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: write_clean({"pathvqa/1": None}), "c.parquet: has no question of slake"),
        (
            lambda: pq.write_table(pa.table({"id": ["slake/1"]}), "c.parquet"),
            "--clean c.parquet: not a clean.parquet; give",
        ),
        (lambda: Path("c.parquet").write_bytes(b"PAR1"), "--clean c.parquet: not a clean.parquet; give"),
        (lambda: None, "--clean c.parquet: not a clean.parquet; give"),
    ],
)
def test_a_file_of_copies_that_cannot_be_used_is_one_line(
    make: Callable[[], object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    assert score(write_jsonl(rows()), "--clean", "c.parquet") == 1
    line = capsys.readouterr().err
    assert line.startswith("error: ") and said in line and line.count("\n") == 1


def test_records_of_a_credentialed_dataset_are_not_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from openmedq.datasets import slake

    monkeypatch.setattr(slake, "card", slake.card.model_copy(update={"access": Access.CREDENTIALED}))
    texts = {sample.turns[-1].question for sample in samples()} | {sample.id for sample in samples()}
    assert score(write_jsonl(rows()[:-2])) == 0
    assert score(write_jsonl([{"id": "x", "answer": "y"}])) == 1
    shown = "".join(capsys.readouterr())
    assert "no answer, not scored: 2\n" in shown
    assert not [text for text in texts if text in shown]
