"""Checkpoints and trained models in MLflow, and the registered model `openmedq` with its two aliases.

`candidate` is the latest trained model. `champion` is the best evaluated one: it moves to an evaluated model if that
answers the same questions better, by a paired interval, clustered by image, that excludes zero.
"""

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from openmedq import paths
from openmedq.storage.progress import Answers

NAME = "openmedq"
ABOUT = (
    "Vision-language models trained on the mix of openmedq. `candidate`: the latest trained one. `champion`: the best "
    "evaluated one; it moves only to a model with more right answers to the same questions, by a paired interval, "
    "clustered by image, that excludes zero."
)
MAX_MODEL_BYTES = 200 * 2**20  # larger weights are stored by DVC only
VERSIONS = "mlflow.modelVersions"  # tag of a logged model: its registered versions, as MLflow's page reads them


def record_checkpoint(
    client: Any, experiment_id: str, run_id: str, name: str, step: int, metrics: Mapping[str, float], time_ms: int
) -> None:
    """Record data/checkpoints/<name> as a LoggedModel without its weights, with the metrics of its step."""
    from mlflow.entities import LoggedModelOutput, Metric

    path = paths.CHECKPOINTS / name
    found = _find(client, experiment_id, run_id, f"name = '{path.name}'")
    model = found[0] if found else None  # of an earlier attempt, or the training was resumed from an earlier checkpoint
    if model is None:
        tags = {"path": path.as_posix()}
        model = client.create_logged_model(
            experiment_id, path.name, run_id, tags, params={"step": str(step)}, model_type="checkpoint"
        )
    values = [Metric(key, value, time_ms, step, model.model_id) for key, value in metrics.items()]
    client.log_batch(run_id, metrics=values)
    if not _is_ready(model):
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step)])
        client.finalize_logged_model(model.model_id, "READY")


def register(client: Any, experiment_id: str, run_id: str, digest: str, *, is_candidate: bool) -> None:
    """Log data/model, which transformers loads, and register it; of a large model only the JSON files are stored.

    `digest` is the md5 of data/model as DVC computes it.
    """
    from mlflow.exceptions import MlflowException

    found = _find(client, experiment_id, run_id, f"tags.md5 = '{digest}'")
    if found:
        model = found[0]
    else:
        tags = {"path": paths.MODEL.as_posix(), "md5": digest}
        model = client.create_logged_model(experiment_id, NAME, run_id, tags, model_type="vlm")
    if not _is_ready(model):
        model = _upload(client, run_id, model)
    with suppress(MlflowException):  # it exists
        client.create_registered_model(NAME, description=ABOUT)
    version = _find_version(client, run_id)
    if version is None or version.tags.get("md5") != digest:
        name = client.get_run(run_id).info.run_name
        version = client.create_model_version(
            NAME,
            model.artifact_location,
            run_id,
            tags={"md5": digest},
            description=f"Not evaluated yet; run {name}",
            await_creation_for=0,
            model_id=model.model_id,
        )
    link = [{"name": NAME, "version": str(version.version)}]
    client.set_logged_model_tags(model.model_id, {VERSIONS: json.dumps(link)})
    if is_candidate:
        client.set_registered_model_alias(NAME, "candidate", version.version)


def _upload(client: Any, run_id: str, model: Any) -> Any:
    from mlflow.entities import LoggedModelOutput

    if sum(path.stat().st_size for path in paths.MODEL.rglob("*")) <= MAX_MODEL_BYTES:
        client.log_model_artifacts(model.model_id, str(paths.MODEL))
    else:
        for path in paths.MODEL.glob("*.json"):
            client.log_model_artifact(model.model_id, str(path))
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return client.finalize_logged_model(model.model_id, "READY")


def compare(client: Any, run_id: str, stage: str, answers: Answers) -> None:
    """Store which questions the run's model answered right; make it the champion if it is better than the champion.

    The description of the model's version states the result.
    """
    path = f"{stage}/answers-{answers.questions[:12]}.json"
    stored = {"questions": answers.questions, "correct": "".join(map(str, answers.correct))}
    client.log_text(run_id, json.dumps(stored), path)
    version = _find_version(client, run_id)
    if version is None:  # not trained here
        return
    score = f"{np.mean(answers.correct):.1%} of {len(answers.correct)} questions right"
    number = client.get_registered_model(NAME).aliases.get("champion")
    if str(number) == str(version.version):  # numbers from a database, texts from a server
        return
    if number is None:
        is_better, result = True, "the first evaluated model, so the champion"
    else:
        champion = client.get_model_version(NAME, number)
        is_better, result = _judge(answers, _read_correct(client, champion.run_id, path, answers.questions))
        result = f"compared with version {number}, {result}"
    name = client.get_run(run_id).info.run_name
    client.update_model_version(NAME, version.version, f"{score}; {result}; run {name}")
    client.set_tag(run_id, "comparison", f"{score}; {result}")  # MLflow's page of two runs shows tags
    if is_better:  # last: a repetition then writes the text again
        client.set_registered_model_alias(NAME, "champion", version.version)


def _judge(answers: Answers, theirs: Sequence[int] | None) -> tuple[bool, str]:
    if theirs is None:
        return False, "which has no stored answers to these questions, so the champion stays"
    gains = np.array(answers.correct) - np.array(theirs)
    interval = difference(gains, answers.clusters, answers.confidence)
    if interval is None:
        return False, "the questions are about a single image, so the champion stays"
    low, high = interval
    change = f"{100 * gains.mean():+.2f} points [{100 * low:.2f}, {100 * high:.2f}]"
    return (True, f"{change}, so the champion from now on") if low > 0 else (False, f"{change}, so the champion stays")


def difference(gains: Any, clusters: Sequence[int], confidence: float) -> tuple[float, float] | None:
    """Return the interval of the mean of paired differences; None if there is only one cluster.

    Student's t with the cluster-robust standard error of a mean (Liang and Zeger, 1986): differences of questions on
    one image are summed before they are squared.
    """
    from scipy import stats

    sums = np.bincount(clusters, gains - gains.mean())
    num_clusters = len(np.unique(clusters))
    if num_clusters < 2:
        return None
    error = math.sqrt(num_clusters / (num_clusters - 1) * float(np.square(sums).sum())) / len(gains)
    reach = float(stats.t.ppf((1 + confidence) / 2, num_clusters - 1)) * error
    return float(gains.mean()) - reach, float(gains.mean()) + reach


def _read_correct(client: Any, run_id: str, path: str, questions: str) -> list[int] | None:
    """Return a run's answers to the questions; None if it has none that can be read."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.list_artifacts(run_id, str(Path(path).parent))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None  # `mlflow gc` has removed the run
    if path not in {item.path for item in found}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        text = Path(client.download_artifacts(run_id, path, folder)).read_text(encoding="utf-8", errors="replace")
    with suppress(ValueError, KeyError, TypeError):  # the file is damaged
        stored = json.loads(text)
        if stored["questions"] == questions:
            return [int(digit) for digit in stored["correct"]]
    return None


def find_trained(client: Any, experiment_id: str, run_id: str) -> str | None:
    """Return the id of the trained model of a run, for metrics of it; None if there is none."""
    found = _find(client, experiment_id, run_id, f"name = '{NAME}'")
    return next((str(model.model_id) for model in found if _is_ready(model)), None)


def _is_ready(model: Any) -> bool:
    return bool(model.status == "READY")  # a database has no filter for it


def _find(client: Any, experiment_id: str, run_id: str, query: str) -> list[Any]:
    return list(client.search_logged_models([experiment_id], f"source_run_id = '{run_id}' AND {query}"))


def _find_version(client: Any, run_id: str) -> Any | None:
    """Return the latest registered version of a run; None if there is none."""
    versions = client.search_model_versions(f"name = '{NAME}' AND run_id = '{run_id}'")
    return max(versions, key=lambda version: int(version.version), default=None)
