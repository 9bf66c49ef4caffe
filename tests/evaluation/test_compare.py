import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.cli import main
from openmedq.evaluation.metrics import METRICS
from openmedq.evaluation.metrics.predictions import prediction_schema
from tests.evaluation.test_commands import Row, _published, rows, samples, score, write_jsonl

__all__ = ["_published"]  # a fixture of every test


def make_tables() -> None:
    for name, wrong in (("a", 12), ("b", 2)):
        assert score(write_jsonl(rows(wrong=wrong)), "--output", f"{name}.parquet") == 0


def compare(capsys: pytest.CaptureFixture[str], *files: str) -> Row:
    capsys.readouterr()
    assert main(["compare", *files, "--resamples", "2000", "--json"]) == 0
    tree: Row = json.loads(capsys.readouterr().out.splitlines()[-1])
    return tree


def test_compare_finds_the_better_system_and_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    make_tables()
    tree = compare(capsys, "a.parquet", "b.parquet")
    of = {each["name"]: each for each in tree["metrics"]}
    assert set(of) == {metric.name for metric in METRICS if metric.scores == "answer"}
    exact = of["exact_match"]
    num_rows = len(rows())
    assert exact["difference"] == pytest.approx(100 * 10 / num_rows, abs=1e-4)
    assert exact["low"] < exact["difference"] < exact["high"]
    assert exact["better"] == ("B" if exact["p"] < 0.05 else "")
    assert tree["exact_match"] == {"both": num_rows - 12, "only_A": 0, "only_B": 10, "neither": 2}
    assert {each["group"] for each in tree["where"]} >= {"answer_type", "modality"}
    swapped = compare(capsys, "b.parquet", "a.parquet")
    for one, other in zip(tree["metrics"], swapped["metrics"], strict=True):
        assert (one["A"], one["B"], one["difference"]) == (other["B"], other["A"], -other["difference"])
        assert (one["low"], one["high"]) == pytest.approx((-other["high"], -other["low"]), abs=1e-4)
    assert compare(capsys, "a.parquet", "b.parquet") == tree, "deterministic"


def test_p_is_the_share_of_exchanges_of_images(capsys: pytest.CaptureFixture[str]) -> None:
    make_tables()
    tables = [pq.read_table(name).to_pylist() for name in ("a.parquet", "b.parquet")]
    gains: dict[str, int] = {}
    for one, other in zip(*tables, strict=True):
        gain = (other["answer"] == other["reference"]) - (one["answer"] == one["reference"])
        gains[one["image_ids"][0]] = gains.get(one["image_ids"][0], 0) + gain
    sums = [sum(signed) for signed in itertools.product(*((gain, -gain) for gain in gains.values() if gain))]
    exact = sum(abs(each) >= sum(gains.values()) for each in sums) / len(sums)
    (row,) = [row for row in compare(capsys, "a.parquet", "b.parquet")["metrics"] if row["name"] == "exact_match"]
    assert 0 < exact < 0.5
    assert row["p"] == pytest.approx(exact, abs=0.03)


def test_a_group_may_have_any_name(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("raw/test.json")
    path.write_text(path.read_text("utf-8").replace('"Organ"', '"[/b]"'), "utf-8")
    make_tables()
    assert main(["compare", "a.parquet", "b.parquet"]) == 0
    assert capsys.readouterr().out.count("[/b]") == 3


def test_a_system_does_not_differ_from_itself(capsys: pytest.CaptureFixture[str]) -> None:
    make_tables()
    for each in compare(capsys, "a.parquet", "a.parquet")["metrics"]:
        assert (each["difference"], each["low"], each["high"], each["p"], each["better"]) == (0, 0, 0, 1, "")


def test_only_common_questions_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    make_tables()
    table = pq.read_table("b.parquet")
    pq.write_table(table.slice(5).take(list(reversed(range(len(table) - 5)))), "b.parquet")
    tree = compare(capsys, "a.parquet", "b.parquet")
    assert (tree["num_rows"], tree["only_in"]) == (len(table) - 5, {"A": 5, "B": 0})
    assert main(["compare", "a.parquet", "b.parquet"]) == 0
    shown = capsys.readouterr().out
    assert "not compared: 5 rows only in A" in shown
    assert not any(sample.turns[-1].question in shown for sample in samples())


@pytest.mark.parametrize(
    ("column", "said"), [("id", "have no id in common"), ("reference", "rows of the same id differ in reference")]
)
def test_other_questions_are_not_compared(column: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_tables()
    changed = [row | {column: f"{row[column]}-"} for row in pq.read_table("b.parquet").to_pylist()]
    pq.write_table(pa.Table.from_pylist(changed, prediction_schema()), "b.parquet")
    assert main(["compare", "a.parquet", "b.parquet"]) == 1
    assert said in capsys.readouterr().err
    assert main(["compare", "a.parquet", write_jsonl(rows())]) == 1
    assert "answers.jsonl: is not a table of predictions" in capsys.readouterr().err
    assert main(["compare", "a.parquet", "typed-wrong.parquet"]) == 1
    assert "typed-wrong.parquet: no such file" in capsys.readouterr().err
