import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from openmedq import paths
from openmedq.evaluation import evaluate
from openmedq.evaluation.metrics import METRICS
from openmedq.evaluation.metrics.predictions import answer_type_of, prediction_schema, score_predictions
from openmedq.schema import Sample
from tests.curate.corpus import make_params
from tests.recorded import Recorded
from tests.stages.results import write_run

SETTINGS = {"max_new_tokens": 4, "num_resamples": 50}


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run()
    monkeypatch.setattr(evaluate.generate, "load_answerer", lambda *_, **__: answer_by_rule)


def answer_by_rule(samples: Sequence[Sample]) -> Iterator[str]:
    """Right on closed questions, wrong on the others."""
    for sample in samples:
        reference = sample.turns[-1].answer
        yield reference.upper() if reference in ("yes", "no") else "nowhere"


def run(**settings: Any) -> tuple[Any, dict[str, Any], Recorded]:
    logged = Recorded()
    evaluate.run(make_params(evaluate=SETTINGS | settings), logged)
    assert logged.steps == [None]
    return pq.read_table(evaluate.PREDICTIONS), json.loads(evaluate.METRICS.read_text()), logged


def test_every_evaluation_row_of_a_source_is_answered_and_kept() -> None:
    predictions, metrics, _ = run()
    assert predictions.schema.equals(prediction_schema())
    index = pq.read_table(paths.MIX / "index.parquet")
    asked = index.filter(pc.and_(pc.equal(index["role"], "evaluation"), pc.not_equal(index["source"], "bench")))
    assert predictions["id"].to_pylist() == asked["id"].to_pylist()
    assert metrics["all"]["num_rows"] == len(predictions) == 8 + 8 + 3
    assert "bench" not in metrics
    row = predictions.filter(pc.equal(predictions["id"], "open_vqa/9-Is")).to_pylist()[0]
    assert row["provenance"] == {"file": "rows.json", "record": "open_vqa/9-Is"}
    assert (row["licence"], row["split"], row["reference"], row["answer"]) == ("CC0-1.0", "test", "yes", "YES")


def test_scores_of_parts_and_sources() -> None:
    _, metrics, logged = run()
    scores = metrics["open_vqa"]
    assert scores["closed"]["exact_match"] == scores["closed"]["bleu_1"] == 100
    assert scores["open"]["exact_match"] == scores["open"]["token_f1"] == 0
    assert (scores["exact_match"], scores["num_rows"], scores["num_available"]) == (50, 8, 8)
    # One question about each image is answered right and one wrong, so every resample scores 50.
    assert scores["exact_match_low"] == scores["exact_match_high"] == 50
    assert metrics["open_text"]["exact_match"] == 100
    assert metrics["open_text"]["open"] == {"num_rows": 0}
    assert logged.metrics["bleu_1_of/open_vqa"] == scores["bleu_1"]
    (row,) = [row for row in logged.tables["scores"] if row["of"] == "open_vqa/closed"]
    assert row["bleu_1"] == 100 and row["num_rows"] == 4


def test_few_scores_are_metrics_of_the_run_and_all_are_in_its_table() -> None:
    _, metrics, logged = run()
    assert set(logged.metrics) == {
        *(f"all/{name}{bound}" for name in ("bleu_1", "exact_match") for bound in ("", "_low", "_high")),
        *(f"bleu_1_of/{source}" for source in ("open_vqa", "secret_vqa", "open_text")),
    }
    of = {row["of"]: row for row in logged.tables["scores"]}
    assert of["all"]["exact_match_low"] == metrics["all"]["exact_match_low"]
    assert of["open_text/open"] == {"of": "open_text/open", "num_rows": 0}


def test_answers_are_logged_without_those_of_a_credentialed_dataset() -> None:
    predictions, _, logged = run()
    shown = predictions.filter(pc.not_equal(predictions["source"], "secret_vqa"))
    answers = logged.answered
    assert answers is not None and len(shown) == len(predictions) - 8
    assert list(answers.correct) == [int(row["answer"].lower() == row["reference"]) for row in shown.to_pylist()]
    images = [
        tuple(image_ids) or row_id
        for image_ids, row_id in zip(shown["image_ids"].to_pylist(), shown["id"].to_pylist(), strict=True)
    ]
    assert len(set(zip(images, answers.clusters, strict=True))) == len(set(images)) == len(set(answers.clusters))
    again = run()[2].answered
    assert again is not None and again.questions == answers.questions
    other = run(max_rows=2)[2].answered
    assert other is not None and other.questions != answers.questions


def test_an_image_is_new_if_no_training_row_of_the_mix_shows_it() -> None:
    predictions, metrics, _ = run()
    is_new = dict(zip(predictions["id"].to_pylist(), predictions["is_image_new"].to_pylist(), strict=True))
    assert is_new["open_vqa/8-Is"] is False
    assert is_new["open_vqa/9-Is"] is True
    assert is_new["open_text/1"] is None
    assert metrics["open_vqa"]["new_images"]["num_rows"] == 6
    assert metrics["open_text"]["new_images"] == {"num_rows": 0}


def test_the_baseline_is_the_most_frequent_training_answer_to_the_question() -> None:
    predictions, metrics, _ = run()
    rows = {row["id"]: row for row in predictions.to_pylist()}
    assert rows["open_vqa/9-Is"]["baseline_answer"] == "yes"
    assert rows["open_text/1"]["baseline_answer"] == "yes"  # a question that training did not ask: its source's answer
    assert rows["open_vqa/8-Is"]["reference"] == "no"
    assert metrics["open_text"]["baseline_exact_match"] == 100
    assert metrics["open_vqa"]["closed"]["baseline_exact_match"] == 75  # "yes" to four questions


def test_scores_follow_from_the_predictions_alone() -> None:
    predictions, metrics, _ = run()
    available = {name: scores["num_available"] for name, scores in metrics.items() if name not in ("metrics", "all")}
    again = score_predictions(predictions, available, num_resamples=50, confidence=0.95, seed=0)
    assert again == metrics
    for metric in METRICS:
        rows = [
            (row["answer"], [row["reference"], *row["alternatives"]])
            for row in predictions.to_pylist()
            if metric.answer_type in (None, row["answer_type"])
        ]
        assert metrics["all"][metric.name] == pytest.approx(metric.score(metric.measure(rows)), abs=1e-4)


def test_predictions_hold_texts_and_no_scores() -> None:
    predictions, _, _ = run()
    assert not {name for metric in METRICS for name in (metric.name, f"baseline_{metric.name}")} & {
        *predictions.column_names
    }


def test_a_drawn_part_is_named_as_such_and_the_same_each_time() -> None:
    first, metrics, _ = run(max_rows=3)
    assert {name: scores["num_rows"] for name, scores in metrics.items() if name != "metrics"} == {
        "all": 9,
        "open_vqa": 3,
        "secret_vqa": 3,
        "open_text": 3,
    }
    assert metrics["open_vqa"]["num_available"] == 8
    again, _, _ = run(max_rows=3)
    other, _, _ = run(max_rows=3, seed=1)
    assert first["id"].to_pylist() == again["id"].to_pylist() != other["id"].to_pylist()


def test_two_runs_leave_the_same_bytes() -> None:
    run()
    before = [evaluate.PREDICTIONS.read_bytes(), evaluate.METRICS.read_bytes()]
    run()
    assert [evaluate.PREDICTIONS.read_bytes(), evaluate.METRICS.read_bytes()] == before


def test_without_evaluation_rows_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(mix={"roles": {name: {"test": None} for name in ("open_vqa", "secret_vqa", "open_text")}})
    monkeypatch.setattr(evaluate.generate, "load_answerer", None)
    predictions, metrics, logged = run()
    assert len(predictions) == 0
    assert metrics["all"]["num_rows"] == 0 and logged.metrics == {} and logged.answered is None


@pytest.mark.parametrize(
    ("attributes", "options", "reference", "expected"),
    [
        ({"answer_type": "CLOSED "}, (), "2", "closed"),
        ({"answer_type": "open"}, (), "yes", "open"),
        ({"answer_type": "other"}, (), "Yes.", "closed"),
        ({}, ("a", "b"), "a", "closed"),
        ({}, (), "the left lung", "open"),
    ],
)
def test_answer_types(attributes: dict[str, str], options: tuple[str, ...], reference: str, expected: str) -> None:
    assert answer_type_of(attributes, options, reference) == expected
