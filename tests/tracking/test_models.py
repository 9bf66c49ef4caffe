import json
from pathlib import Path

import numpy as np
import pytest

from openmedq import paths
from openmedq.evaluation.metrics import METRICS
from openmedq.storage.progress import Answers
from openmedq.tracking import models, runs, store
from tests.evaluation.metrics.scoring import bootstrap
from tests.tracking.test_runs import Settings

pytestmark = pytest.mark.usefixtures("empty_store")

HALF = [0, 1] * 50


def answers(correct: list[int], questions: str = "a" * 64) -> Answers:
    return Answers(questions, correct, [number // 2 for number in range(len(correct))], 0.95)


def train(weights: str) -> str:
    """Train a model with these weights; return its version."""
    (paths.MODEL / "config.json").write_text(weights)
    with runs.open_run("train", (), Settings()):
        pass
    client, _ = store.connect()
    return str(client.get_registered_model("openmedq").aliases["candidate"])


def evaluate(evaluated: Answers) -> tuple[str, str]:
    """Evaluate data/model; return the champion, and the description of the latest version."""
    with runs.open_run("evaluate", (), Settings()) as log:
        log({"score": 1.0}, None)
        log.answers(evaluated)
    client, _ = store.connect()
    model = client.get_registered_model("openmedq")
    latest = max(client.search_model_versions("name = 'openmedq'"), key=lambda version: int(version.version))
    return str(model.aliases["champion"]), latest.description


def test_the_best_checkpoint_is_found_by_its_metric() -> None:
    with runs.open_run("train", (), Settings()) as log:
        for step, loss in ((10, 0.9), (20, 0.4), (30, 0.6)):
            log({"loss": loss}, step)
            for _ in range(2):  # as after an error of the store
                log.checkpoint(f"step-{step}", step, {"validation_loss": loss})
        run_id = log._sender.run_id
    client, experiment_id = store.connect()
    order = [{"field_name": "metrics.validation_loss", "ascending": True}]
    query = f"source_run_id = '{run_id}' AND metrics.validation_loss > 0"
    best, *others = client.search_logged_models([experiment_id], query, order_by=order)
    assert (best.name, best.params, best.status) == ("step-20", {"step": "20"}, "READY")
    assert best.tags["path"] == "data/checkpoints/step-20"
    assert [model.name for model in others] == ["step-30", "step-10"]
    assert {(metric.key, metric.value, metric.step) for metric in best.metrics} == {("validation_loss", 0.4, 20)}
    outputs = {output.model_id: output.step for output in client.get_run(run_id).outputs.model_outputs}
    assert outputs[best.model_id] == 20 and len(outputs) == 4, "with the trained model"
    assert client.list_logged_model_artifacts(best.model_id) == [], "its weights are not uploaded"


def test_candidate_follows_the_training_and_champion_the_better_answers() -> None:
    assert train("first") == "1"
    client, _ = store.connect()
    assert "champion" not in client.get_registered_model("openmedq").aliases
    champion, text = evaluate(answers(HALF))
    assert champion == "1" and text.startswith("50.0% of 100 questions right; the first evaluated model")
    for again in ([0] * 100, HALF):
        assert evaluate(answers(again)) == ("1", text), "the champion is not compared with itself"

    assert train("equal") == "2"
    assert evaluate(answers(HALF)) == (
        "1",
        "50.0% of 100 questions right; compared with version 1, +0.00 points [0.00, 0.00], so the champion stays; run "
        + run_name(2),
    )

    train("by one")
    champion, text = evaluate(answers([1, 1, *HALF[2:]]))
    assert champion == "1" and "+1.00 points [-1." in text, "one image more is chance"

    assert train("better") == "4"
    champion, text = evaluate(answers([1, 1] * 10 + HALF[20:]))
    assert champion == "4" and "+10.00 points [" in text and "], so the champion from now on; run " in text

    train("worse")
    champion, text = evaluate(answers([0, 0] * 10 + HALF[20:]))
    assert champion == "4" and "-20.00 points [" in text

    version = client.get_model_version("openmedq", "4")
    assert "+10.00 points [" in client.get_run(version.run_id).data.tags["comparison"]
    assert version.tags["md5"].endswith(".dir")
    assert client.get_registered_model("openmedq").aliases == {"candidate": 5, "champion": 4}


def run_name(version: int) -> str:
    client, _ = store.connect()
    return str(client.get_run(client.get_model_version("openmedq", str(version)).run_id).info.run_name)


def test_without_the_champions_answers_it_stays() -> None:
    train("first")
    evaluate(answers(HALF))
    train("second")
    nothing = "100.0% of 100 questions right; compared with version 1, which has no stored answers"
    champion, text = evaluate(answers([1] * 100, questions="b" * 64))
    assert champion == "1" and text.startswith(nothing)
    champion, text = evaluate(answers([1] * 100))
    assert champion == "2", "the same questions, asked later"

    train("third")
    stored = max(Path("mlartifacts").rglob("answers-aaaaaaaaaaaa.json"), key=lambda path: path.stat().st_mtime_ns)
    whole = stored.read_text()
    stored.write_text(whole[:-9])  # of a disk that was full
    champion, text = evaluate(answers([1] * 100))
    assert champion == "2" and text.startswith(nothing.replace("version 1", "version 2"))
    assert not list((paths.PARTIAL / "runs").iterdir())

    train("fourth")
    client, _ = store.connect()
    run_id = client.get_model_version("openmedq", "2").run_id
    client.delete_run(run_id)
    client._tracking_client.store._hard_delete_run(run_id)  # as `mlflow gc` does
    champion, text = evaluate(answers([1] * 100))
    assert champion == "2" and text.startswith(nothing.replace("version 1", "version 2"))


def test_scores_belong_to_the_trained_model_and_stored_answers_have_no_ids() -> None:
    train("first")
    evaluate(answers(HALF))
    client, experiment_id = store.connect()
    (model,) = client.search_logged_models([experiment_id], "name = 'openmedq'")
    assert {metric.key: metric.value for metric in model.metrics} == {"evaluate/score": 1.0}
    assert json.loads(model.tags["mlflow.modelVersions"])[0]["version"] == "1"
    (path,) = Path("mlartifacts").rglob("answers-*.json")
    assert set(json.loads(path.read_text())) == {"questions", "correct"}


def test_the_interval_is_that_of_a_clustered_bootstrap() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 6, 300)
    clusters = np.repeat(np.arange(300), sizes)
    gains = np.repeat(rng.choice([-1, 0, 1], 300, p=[0.2, 0.5, 0.3]), sizes)
    low, high = models.difference(gains, clusters, 0.95) or pytest.fail("no interval")
    exact = next(metric for metric in METRICS if metric.name == "exact_match")
    drawn = bootstrap([exact], [gains[:, None].astype(float)], list(map(str, clusters)), num_resamples=4000, seed=0)
    assert [100 * low, 100 * high] == pytest.approx([drawn["exact_match_low"], drawn["exact_match_high"]], abs=0.5)
    apart = models.difference(gains, range(len(gains)), 0.95) or pytest.fail("no interval")
    assert apart[1] - apart[0] < 0.6 * (high - low), "questions on one image are not independent"
    assert models.difference(gains, [0] * len(gains), 0.95) is None
