import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from openmedq import paths
from openmedq.evaluation import controls, evaluate
from openmedq.evaluation.controls import score_controls
from openmedq.evaluation.generate import Answer
from openmedq.evaluation.metrics import METRICS
from openmedq.evaluation.metrics.calibration import calibrate
from openmedq.evaluation.metrics.predictions import NOT_CHECKED, answer_type_of, prediction_schema, score_predictions
from openmedq.model.pixels import decode
from openmedq.schema import CLEAN_SCHEMA, Sample
from openmedq.storage.tables import CLEAN_TABLE, write_table
from tests.curate.corpus import make_params
from tests.evaluation.metrics.scoring import score_rows
from tests.recorded import Recorded
from tests.stages.results import encode, replace_model, reply, write_run

SETTINGS = {"max_new_tokens": 4, "num_resamples": 50}


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run()
    replace_model(monkeypatch, answer_by_rule)


def answer_by_rule(samples: Sequence[Sample]) -> Iterator[Answer]:
    """Right on closed questions, wrong on the others."""
    for sample in samples:
        reference = sample.turns[-1].answer
        yield reply(reference.upper() if reference in ("yes", "no") else "nowhere")


class Looking:
    """Answers right if it sees the image of the question; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Sample] = []

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Answer]:
        for sample in samples:
            self.asked.append(sample)
            number = int(sample.id.partition("/")[2].split("-")[0]) + 50 * (sample.source == "secret_vqa")
            is_right = [image.data for image in sample.images] == [encode(number)]
            yield reply(sample.turns[-1].answer if is_right else "nothing")


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> Looking:
    answer = Looking()
    monkeypatch.setattr(evaluate.generate, "make_answerer", lambda *_, **__: answer)
    return answer


def run(**settings: Any) -> tuple[Any, dict[str, Any], Recorded]:
    logged = Recorded()
    evaluate.run(make_params(evaluate=SETTINGS | settings), logged)
    assert [step for step, _ in logged.steps] == [None]
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


def test_clean_rows_are_compared_with_all() -> None:
    ids = [f"open_vqa/{number}-Is" for number in (8, 9, 10)]
    write_table(pa.table([ids, ["near text", None, None]], schema=CLEAN_SCHEMA), CLEAN_TABLE)
    predictions, metrics, _ = run()
    assert predictions["contamination"].to_pylist().count(NOT_CHECKED) == 16
    own = metrics["open_vqa"]
    assert own["clean"]["num_rows"] == metrics["all"]["clean"]["num_rows"] == 2
    assert (own["exact_match"], own["clean"]["exact_match"], own["difference_clean_exact_match"]) == (50, 100, 50)
    assert own["difference_clean_exact_match_low"] == own["difference_clean_exact_match_high"] == 50
    assert "difference_clean_exact_match" not in metrics["open_text"]


def test_controls_show_gray_images_others_or_none(looking: Looking) -> None:
    predictions, metrics, _ = run()
    num, rest = len(predictions), looking.asked[len(predictions) :]
    own = {sample.id: [image.data for image in sample.images] for sample in looking.asked[:num]}
    assert len(rest) == 3 * 16
    blank, shuffled, without = (rest[start : start + 16] for start in (0, 16, 32))
    for sample in blank:
        (image,) = sample.images
        assert bool((decode(image, 32, 3) == controls.GRAY_LEVEL).all())
    shown: dict[tuple[Any, ...], set[tuple[Any, ...]]] = {}
    for sample in shuffled:
        images = [image.data for image in sample.images]
        assert images != own[sample.id]
        assert images in [data for name, data in own.items() if name.startswith(sample.source)]
        shown.setdefault(tuple(own[sample.id]), set()).add(tuple(images))
    assert all(len(others) == 1 for others in shown.values()), "both questions about an image see the same one"
    assert not [sample for sample in without if sample.images]
    kept = pq.read_table(evaluate.CONTROLS)
    assert kept["id"].to_pylist() == [sample.id for sample in rest]
    assert kept["control"].to_pylist() == ["blank"] * 16 + ["shuffled"] * 16 + ["no_image"] * 16
    assert set(kept["answer"].to_pylist()) == {"nothing"}
    for scores in metrics["controls"].values():
        assert set(scores) == {"all", "open_vqa", "secret_vqa"}
        assert (scores["all"]["num_rows"], scores["open_vqa"]["num_rows"]) == (16, 8)
        assert scores["all"]["exact_match"] == scores["all"]["exact_match_high"] == 0
        names = ("difference_exact_match", "difference_exact_match_low", "difference_exact_match_high")
        assert [scores["open_vqa"][name] for name in names] == [100, 100, 100]


def test_a_source_with_one_image_has_no_shuffled_images(looking: Looking) -> None:
    index = pq.read_table(paths.MIX / "index.parquet")
    is_kept = pc.or_(pc.not_equal(index["role"], "evaluation"), pc.match_substring(index["id"], "open_vqa/9"))
    write_table(index.filter(is_kept), paths.MIX / "index.parquet")
    _, metrics, _ = run(controls=["shuffled", "no_image"])
    assert list(metrics["controls"]) == ["no_image"]
    part = metrics["controls"]["no_image"]["open_vqa"]
    assert part["difference_exact_match"] == 100 and "difference_exact_match_low" not in part


def test_controls_of_a_few_rows_or_none(looking: Looking) -> None:
    _, metrics, _ = run(controls=["shuffled"], control_rows=3)
    assert {name: scores["num_rows"] for name, scores in metrics["controls"]["shuffled"].items()} == {
        "all": 6,
        "open_vqa": 3,
        "secret_vqa": 3,
    }
    _, metrics, _ = run(controls=[])
    assert metrics["controls"] == {} and len(pq.read_table(evaluate.CONTROLS)) == 0


def test_a_model_of_questions_alone_is_shown_no_image(looking: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_: Any, texts: Sequence[Sample], read: controls.Read, __: Any) -> list[dict[str, Any]]:
        looking.asked += [*texts, *map(read, range(len(texts)))]
        return [{}] * len(texts)

    monkeypatch.setattr(evaluate.likelihood, "measure", measure)
    params = make_params(evaluate=SETTINGS)
    questions_alone = params.train.model_copy(update={"with_images": False})
    evaluate.run(params.model_copy(update={"train": questions_alone}), Recorded())
    assert len(looking.asked) == 3 * len(pq.read_table(evaluate.PREDICTIONS))
    assert not [sample for sample in looking.asked if sample.images]


def test_the_difference_is_paired_by_image() -> None:
    """The model and the control are right on other images: only draws of images make the difference vary."""
    predictions, _, _ = run(controls=[])
    rows = predictions.filter(pc.equal(predictions["source"], "open_vqa"))
    given = [(row["reference"] if row["id"].startswith("open_vqa/9") else row["answer"]) for row in rows.to_pylist()]
    names = pa.array(["blank"] * len(rows))
    table = pa.table([names, rows["id"], pa.array(given)], schema=controls.CONTROL_SCHEMA)
    scores = score_controls(predictions, table, num_resamples=4000, confidence=0.95, seed=0)["blank"]["open_vqa"]
    assert scores["difference_exact_match"] == pytest.approx(-12.5)
    # One of four images differs, by one of its two questions: a binomial number of draws of it, each 12.5 points.
    draws = np.random.default_rng(1).binomial(4, 0.25, 10_000) * -12.5
    low, high = np.percentile(draws, [2.5, 97.5])
    assert (scores["difference_exact_match_low"], scores["difference_exact_match_high"]) == (low, high)


def test_the_baseline_is_the_most_frequent_training_answer_to_the_question() -> None:
    predictions, metrics, _ = run()
    rows = {row["id"]: row for row in predictions.to_pylist()}
    assert rows["open_vqa/9-Is"]["baseline_answer"] == "yes"
    assert rows["open_text/1"]["baseline_answer"] == "yes"  # a question that training did not ask: its source's answer
    assert rows["open_vqa/8-Is"]["reference"] == "no"
    assert metrics["open_text"]["baseline_exact_match"] == 100
    assert metrics["open_vqa"]["closed"]["baseline_exact_match"] == 75  # "yes" to four questions
    majority = rows["open_vqa/9-Wh"]["majority_answer"]
    assert majority == rows["open_vqa/9-Is"]["majority_answer"] == "yes"
    assert metrics["open_vqa"]["majority_exact_match"] == 37.5


def test_scores_follow_from_the_predictions_alone() -> None:
    predictions, metrics, _ = run()
    drawing = {"num_resamples": 50, "confidence": 0.95, "seed": 0}
    controlled = metrics.pop("controls")
    assert calibrate(predictions) == metrics.pop("calibration") and metrics.pop("zero_shot") == {}
    assert score_controls(predictions, pq.read_table(evaluate.CONTROLS), **drawing) == controlled
    available = {name: scores["num_available"] for name, scores in metrics.items() if name not in ("metrics", "all")}
    again = score_predictions(predictions, available, **drawing)
    assert again == metrics
    for metric in (each for each in METRICS if each.scores == "answer"):
        rows = [
            (row["answer"], [row["reference"], *row["alternatives"]])
            for row in predictions.to_pylist()
            if metric.answer_type in (None, row["answer_type"])
        ]
        assert metrics["all"][metric.name] == pytest.approx(score_rows(metric, rows), abs=1e-4)


def test_a_drawn_part_is_named_as_such_and_the_same_each_time() -> None:
    first, metrics, _ = run(max_rows=3)
    assert {name: scores["num_rows"] for name, scores in metrics.items() if "num_available" in scores} == {
        "all": 9,
        "open_vqa": 3,
        "secret_vqa": 3,
        "open_text": 3,
    }
    assert metrics["open_vqa"]["num_available"] == 8
    again, _, _ = run(max_rows=3)
    other, _, _ = run(max_rows=3, seed=1)
    assert first["id"].to_pylist() == again["id"].to_pylist() != other["id"].to_pylist()


def test_without_evaluation_rows_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(mix={"roles": {name: {"test": None} for name in ("open_vqa", "secret_vqa", "open_text")}})
    monkeypatch.setattr(evaluate.generate, "make_answerer", None)
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


def test_clean_rows_are_those_that_deduplicate_finds_no_copy_of() -> None:
    predictions, metrics, _ = run()
    reason = dict(zip(predictions["id"].to_pylist(), predictions["contamination"].to_pylist(), strict=True))
    assert reason["open_vqa/8-Is"] == "same pixels"
    assert reason["open_vqa/9-Is"] is None
    assert metrics["open_vqa"]["clean"]["num_rows"] == 6
    assert metrics["open_text"]["clean"]["num_rows"] == 3
