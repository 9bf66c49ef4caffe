"""MLflow runs: one per training, joined by the later stages. Only this package uses mlflow.

DVC hashes the data and MLflow records the runs, so that a score can be traced to the published files:

    metric of a run
      -> tags `md5.mix`, `md5.validation`, `md5.model`, and one dataset input per dataset of the mix, whose digest is
         DVC's md5 of data/samples/<id>
      -> artifact lineage.json: per dataset the md5 of samples and raw, and URL and sha256 of each published file
      -> dvc.lock of the tagged git commit: the same md5 with the commands, for `dvc checkout`

Never logged: texts and ids of records (except for the report page, which shows predictions of open sources only), the
environment, user and host names, folders outside the project, passwords in URLs.

The store is `mlflow.db` with `mlartifacts/` in the project's root (of DVC's queued experiments: the original project's
root), or the server in MLFLOW_TRACKING_URI. `evaluate`, `transfer` and `report` find their run by the md5 of
data/model: if DVC restores a model from its cache, they join the run of its training. If the store has no such run, the
first of them starts one, tagged `restored: true`. Errors of the store while a stage runs do not stop the stage.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from openmedq import paths
from openmedq.config import Params
from openmedq.storage.progress import Log
from openmedq.tracking import lineage, store

_log = logging.getLogger(__name__)

EXPERIMENT = "openmedq"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # selects the layout of MLflow's pages
MAX_MODEL_BYTES = 200 * 2**20  # larger weights are stored by DVC only
MAX_PARAM_CHARS = 6000  # this and the next two: limits of MLflow
BATCH_PARAMS = 100
BATCH_METRICS = 1000
FLUSH_SECONDS = 5.0


@contextlib.contextmanager
def open_run(stage: str, artifacts: Sequence[Path], params: Params) -> Iterator[Log]:
    """Start the run of a training, or join the run of data/model; yield a function that logs metrics.

    `log({"loss": 0.3}, step)` is buffered; step None is for a final score. The run ends as FAILED if the stage raises.
    In a distributed training, only the main process has a run.

    Raises:
        TrackingError: the store does not answer.
    """
    if os.environ.get("RANK", "0") != "0":
        yield lambda metrics, step: None
        return
    client, experiment_id = _connect()
    root = store.find_root()
    marker = store.Marker(root, stage)
    with _as_tracking_error():
        store.close_dead_runs(client, root)
        run = (_create if stage == "train" else _join)(client, experiment_id, params, marker)
    logger = RunLogger(client, run, stage, marker)
    with _exit_on_sigterm(), contextlib.closing(marker):
        try:
            yield logger.log
        except BaseException:
            logger.close("failed")
            raise
    logger.attach_outputs(artifacts)
    logger.close("finished")


class RunLogger:
    """Logs a stage to its run. The first error of the store is reported; errors do not stop the stage."""

    def __init__(self, client: Any, run: Any, stage: str, marker: store.Marker) -> None:
        """Set the run's status to RUNNING."""
        self.client, self.stage, self._marker = client, stage, marker
        self.run_id, self.experiment_id = run.info.run_id, run.info.experiment_id
        self._metrics: list[Any] = []
        self._flushed = time.monotonic()
        self._has_warned = False
        self._try(lambda: client.update_run(self.run_id, status="RUNNING"))

    def log(self, metrics: Mapping[str, float], step: int | None) -> None:
        """Log metrics of a step, or final ones (None), with the stage as prefix: `train/loss`."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        self._metrics += [
            Metric(f"{self.stage}/{name}", float(value), now_ms, step or 0) for name, value in metrics.items()
        ]
        if len(self._metrics) >= BATCH_METRICS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def attach_outputs(self, artifacts: Sequence[Path]) -> None:
        """Attach the stage's artifacts and, after a training, the model and its md5."""
        for path in artifacts:
            if path.exists():
                self._try(lambda path=path: self._attach(path))  # type: ignore[misc]
        if self.stage == "train" and paths.MODEL.is_dir():
            self._try(lambda: self.client.set_tag(self.run_id, "md5.model", lineage.hash_folder(paths.MODEL)))
            self._try(self._attach_model)

    def close(self, state: str) -> None:
        """End the stage; the run is FAILED while one of its stages is."""
        self._flush()
        if self._try(lambda: self._set_state(state)):
            self._marker.clear()

    def _flush(self) -> None:
        """Send the buffered metrics; they stay buffered if the store fails."""
        while self._metrics:
            batch = self._metrics[:BATCH_METRICS]
            if not self._try(lambda batch=batch: self.client.log_batch(self.run_id, metrics=batch)):  # type: ignore[misc]
                break
            del self._metrics[: len(batch)]
        self._flushed = time.monotonic()

    def _attach(self, path: Path) -> None:
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), path.name)
        else:
            self.client.log_artifact(self.run_id, str(path), path.parent.name)

    def _attach_model(self) -> None:
        """Log the model, which transformers loads from its folder; of a large model only the JSON files."""
        from mlflow.entities import LoggedModelOutput

        is_whole = sum(path.stat().st_size for path in paths.MODEL.rglob("*")) <= MAX_MODEL_BYTES
        tags = {"path": paths.MODEL.as_posix(), "is_whole": str(is_whole).lower()}
        model = self.client.create_logged_model(self.experiment_id, EXPERIMENT, self.run_id, tags, model_type="vlm")
        if is_whole:
            self.client.log_model_artifacts(model.model_id, str(paths.MODEL))
        else:
            for path in paths.MODEL.glob("*.json"):
                self.client.log_model_artifact(model.model_id, str(path))
        self.client.finalize_logged_model(model.model_id, "READY")
        self.client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step=0)])

    def _set_state(self, state: str) -> None:
        self.client.set_tag(self.run_id, f"stage.{self.stage}", state)
        tags = self.client.get_run(self.run_id).data.tags
        if state == "finished" and f"stage.{self.stage}.reason" in tags:  # of an earlier process that was killed
            self.client.delete_tag(self.run_id, f"stage.{self.stage}.reason")
        has_failed = any(name.startswith("stage.") and value == "failed" for name, value in tags.items())
        self.client.set_terminated(self.run_id, status="FAILED" if has_failed else "FINISHED")

    def _try(self, action: Callable[[], object]) -> bool:
        try:
            action()
        except _store_errors() as error:
            if not self._has_warned:
                reason = store.redact_secrets(str(error).partition("\n")[0])
                _log.warning(f"{store.name()}: the run may be incomplete: {reason}")
                self._has_warned = True
            return False
        return True


def _create(client: Any, experiment_id: str, params: Params, marker: store.Marker, **more_tags: str) -> Any:
    """Create a run with tags, params, dataset inputs and lineage.json."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

    md5s = lineage.read_md5s()
    hashed = [path for path in (paths.MIX, paths.VALIDATION) if path.as_posix() in md5s]
    tags = lineage.read_git() | {f"md5.{path.name}": md5s[path.as_posix()] for path in hashed} | more_tags
    name = tags.get("dvc.experiment") or tags.get("git.commit", "")[:8] or None
    run = client.create_run(experiment_id, run_name=name)
    run_id = run.info.run_id
    marker.mark(run_id)

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    flat = lineage.flatten(params.model_dump(mode="json", by_alias=True), MAX_PARAM_CHARS)
    settings = [Param(name, value) for name, value in flat.items()]
    for start in range(0, len(settings), BATCH_PARAMS):
        client.log_batch(run_id, params=settings[start : start + BATCH_PARAMS])

    datasets = []
    for each in lineage.read_inputs(md5s):
        source = json.dumps({"path": each.path, "md5": each.md5})
        dataset = Dataset(each.dataset_id, each.md5, "dvc", source, profile=json.dumps(each.profile))
        context = "training" if "train" in each.rows else next(iter(each.rows))
        counts = [InputTag(f"num_{role}_rows", str(number)) for role, number in each.rows.items()]
        datasets.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context), *counts]))
    if datasets:
        client.log_inputs(run_id, datasets=datasets)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lineage.json")
        path.write_text(json.dumps(lineage.trace_back(md5s), indent=2) + "\n", encoding="utf-8")
        client.log_artifact(run_id, str(path))
    return run


def _join(client: Any, experiment_id: str, params: Params, marker: store.Marker) -> Any:
    """Return the latest run of data/model, or a new run if the store has none."""
    md5 = lineage.hash_folder(paths.MODEL)
    query, order = f"tags.`md5.model` = '{md5}'", ["attributes.start_time DESC"]
    found = client.search_runs([experiment_id], query, order_by=order, max_results=1)
    if not found:
        return _create(client, experiment_id, params, marker, **{"restored": "true", "md5.model": md5})
    marker.mark(found[0].info.run_id)
    return found[0]


def _connect() -> tuple[Any, str]:
    """Return a client and the experiment's id; TrackingError if the store does not answer."""
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry"):  # they log a new store's schema
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # MLflow's default of 7 waits for minutes
    root = store.find_root()
    server = os.environ.get("MLFLOW_TRACKING_URI")
    uri = server or f"sqlite:///{root / 'mlflow.db'}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from MLflow's use of SQLAlchemy
        from mlflow import MlflowClient

        with _as_tracking_error():
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is not None:
                return client, str(experiment.experiment_id)
            artifacts = None if server else (root / "mlartifacts").as_uri()
            return client, str(client.create_experiment(EXPERIMENT, artifact_location=artifacts, tags=EXPERIMENT_TAGS))


@contextlib.contextmanager
def _as_tracking_error() -> Iterator[None]:
    try:
        yield
    except _store_errors() as error:
        raise store.describe(error) from None


def _store_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that MLflow raises if its store fails, a driver is missing or the URI is invalid."""
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, CommandError, OSError, ImportError, ValueError


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that the run is closed. Has no effect outside the main thread."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
