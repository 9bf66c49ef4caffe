"""`dvc.lock` and git into MLflow: one run per training, joined by what follows. mlflow is used here only.

DVC signs bytes, MLflow signs runs, and a score walks back:

    metric of a run
      -> tags `md5.mix`, `md5.validation`, and one dataset input per set of the mix, whose digest is DVC's md5
         of data/samples/<id>
      -> artifact lineage.json: per set the md5 of samples and raw, and url and sha256 of each published file
      -> dvc.lock of the tagged git commit: the same md5 beside the commands, for `dvc checkout`

Never logged: texts and ids of records (but for the report page, which shows predictions of open sources only), the
environment, user and host names, folders outside the project, passwords in URLs.

The store is `mlflow.db` with `mlartifacts/` in the project's root (of the main one, for DVC's queued experiments), or
the server that MLFLOW_TRACKING_URI names. The run's id is kept in data/run.json, an output of the stage `train`: where
DVC restores a training from its cache no run is started, and what follows joins the run that made the model. If the
store does not know that run (it is another, or new), evaluate starts one of its own, tagged `restored: true`, which
transfer and report join by the model's md5. A store that fails while a stage runs does not stop the stage.
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
from openmedq.errors import TrackingError
from openmedq.storage.progress import Log
from openmedq.storage.publish import publish
from openmedq.tracking import lineage, store

_log = logging.getLogger(__name__)

EXPERIMENT = "openmedq"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # what its pages look like
MAX_MODEL_BYTES = 200 * 2**20  # larger weights stay with DVC alone, which keeps them anyway
MAX_PARAM_CHARS = 6000  # this and the next two: MLflow's bounds
BATCH_PARAMS = 100
BATCH_METRICS = 1000
FLUSH_SECONDS = 5.0


@contextlib.contextmanager
def open_run(stage: str, artifacts: Sequence[Path], params: Params) -> Iterator[Log]:
    """The run of a learning stage: a new one for `train`, that of the model for the others; yields `log`.

    `log({"loss": 0.3}, step)` is buffered; step None for a final score. The run ends FAILED where the stage raises.
    Only the main process of a distributed training has a run. TrackingError where the store does not answer.
    """
    if os.environ.get("RANK", "0") != "0":
        yield lambda metrics, step: None
        return
    client, experiment_id = _connect()
    root = store.find_root()
    marker = store.Marker(root, stage)
    with _as_tracking_error():
        store.close_dead_runs(client, root)
        open_ = _create if stage == "train" else _join
        run = open_(client, experiment_id, params, marker)
    hold = Hold(client, run, stage, marker)
    with _termination_as_exit(), contextlib.closing(marker):
        try:
            yield hold.log
            if stage == "train":
                _keep_id(run.info.run_id)
        except BaseException:
            hold.release("failed")
            raise
    hold.attach_outputs(artifacts)
    hold.release("finished")


class Hold:
    """A stage's hold on a run. Trouble with the store is said once, and does not stop the stage."""

    def __init__(self, client: Any, run: Any, stage: str, marker: store.Marker) -> None:
        """Mark the run as running."""
        self.client, self.stage, self._marker = client, stage, marker
        self.run_id, self.experiment_id = run.info.run_id, run.info.experiment_id
        self._metrics: list[Any] = []
        self._flushed = time.monotonic()
        self._is_warned = False
        self._try(lambda: client.update_run(self.run_id, status="RUNNING"))

    def log(self, metrics: Mapping[str, float], step: int | None) -> None:
        """Metrics of one step, or (None) of the end; under the stage's name: `train/loss`."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        self._metrics += [
            Metric(f"{self.stage}/{name}", float(value), now_ms, step or 0) for name, value in metrics.items()
        ]
        if len(self._metrics) >= BATCH_METRICS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Hand over what is buffered; it stays buffered where the store does not take it."""
        while self._metrics:
            batch = self._metrics[:BATCH_METRICS]
            if not self._try(lambda batch=batch: self.client.log_batch(self.run_id, metrics=batch)):  # type: ignore[misc]
                break
            del self._metrics[: len(batch)]
        self._flushed = time.monotonic()

    def attach_outputs(self, artifacts: Sequence[Path]) -> None:
        """The stage's reports, and of a training the model."""
        for path in artifacts:
            if path.exists():
                self._try(lambda path=path: self._attach(path))  # type: ignore[misc]
        if self.stage == "train" and paths.MODEL.is_dir():
            self._try(self._attach_model)

    def release(self, state: str) -> None:
        """Close the stage; the run is FAILED as long as one of its stages is."""
        self.flush()
        if self._try(lambda: self._close(state)):
            self._marker.clear()

    def _attach(self, path: Path) -> None:
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), path.name)
        else:
            self.client.log_artifact(self.run_id, str(path), path.parent.name)

    def _attach_model(self) -> None:
        """A logged model, which transformers loads from its folder; large weights are left to DVC."""
        from mlflow.entities import LoggedModelOutput

        is_whole = sum(path.stat().st_size for path in paths.MODEL.rglob("*")) <= MAX_MODEL_BYTES
        tags = {"path": paths.MODEL.as_posix(), "is_whole": str(is_whole).lower()}
        model = self.client.create_logged_model(self.experiment_id, EXPERIMENT, self.run_id, tags, model_type="vlm")
        if is_whole:
            self.client.log_model_artifacts(model.model_id, str(paths.MODEL))
        else:  # the weights: `dvc checkout` at the run's commit; the folder's md5 is a tag once evaluate has joined
            for path in paths.MODEL.glob("*.json"):
                self.client.log_model_artifact(model.model_id, str(path))
        self.client.finalize_logged_model(model.model_id, "READY")
        self.client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step=0)])

    def _close(self, state: str) -> None:
        self.client.set_tag(self.run_id, f"stage.{self.stage}", state)
        tags = self.client.get_run(self.run_id).data.tags
        if state == "finished" and f"stage.{self.stage}.reason" in tags:  # of an earlier process, which was killed
            self.client.delete_tag(self.run_id, f"stage.{self.stage}.reason")
        has_failed = any(name.startswith("stage.") and value == "failed" for name, value in tags.items())
        self.client.set_terminated(self.run_id, status="FAILED" if has_failed else "FINISHED")

    def _try(self, action: Callable[[], object]) -> bool:
        try:
            action()
        except _store_errors() as error:
            if not self._is_warned:
                reason = store.conceal_secrets(str(error).partition("\n")[0])
                _log.warning(f"{store.name()}: the run may miss what follows: {reason}")
                self._is_warned = True
            return False
        return True


def _create(client: Any, experiment_id: str, params: Params, marker: store.Marker, **more_tags: str) -> Any:
    """A new run, with all that it is known by: tags, params, inputs and lineage.json."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

    md5s = lineage.read_md5s()
    signed = [path for path in (paths.MIX, paths.VALIDATION) if path.as_posix() in md5s]
    tags = lineage.read_git() | {f"md5.{path.name}": md5s[path.as_posix()] for path in signed} | more_tags
    run = client.create_run(
        experiment_id, run_name=tags.get("dvc.experiment") or tags.get("git.commit", "")[:8] or None
    )
    run_id = run.info.run_id
    marker.mark(run_id)

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    flat = lineage.flatten(params.model_dump(mode="json", by_alias=True), MAX_PARAM_CHARS)
    dials = [Param(name, value) for name, value in flat.items()]
    for start in range(0, len(dials), BATCH_PARAMS):
        client.log_batch(run_id, params=dials[start : start + BATCH_PARAMS])

    datasets = []
    for given in lineage.read_inputs(md5s):
        source = json.dumps({"path": given.path, "md5": given.md5})
        dataset = Dataset(given.set_id, given.md5, "dvc", source, profile=json.dumps(given.profile))
        context = "training" if "train" in given.rows else next(iter(given.rows))
        counts = [InputTag(f"num_{role}_rows", str(number)) for role, number in given.rows.items()]
        datasets.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context), *counts]))
    if datasets:
        client.log_inputs(run_id, datasets=datasets)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lineage.json")
        path.write_text(json.dumps(lineage.trace_back(md5s), indent=2) + "\n", encoding="utf-8")
        client.log_artifact(run_id, str(path))
    return run


def _join(client: Any, experiment_id: str, params: Params, marker: store.Marker) -> Any:
    """The run that made the model or, where the store has it not, the one that stands in for it, new if need be."""
    from mlflow.exceptions import MlflowException

    md5 = lineage.read_md5s().get(paths.MODEL.as_posix(), "")
    with contextlib.suppress(OSError, ValueError, KeyError, MlflowException):  # no file, or another store's run
        run = client.get_run(str(json.loads(paths.RUN.read_text(encoding="utf-8"))["run_id"]))
        if run.info.lifecycle_stage == "active":
            client.set_tag(run.info.run_id, "md5.model", md5)
            marker.mark(run.info.run_id)
            return run
    query = f"tags.restored = 'true' and tags.`md5.model` = '{md5}'"
    found = client.search_runs([experiment_id], query, max_results=1) if md5 else []
    if not found:
        return _create(client, experiment_id, params, marker, **{"restored": "true", "md5.model": md5})
    marker.mark(found[0].info.run_id)
    return found[0]


def _keep_id(run_id: str) -> None:
    with publish(paths.RUN) as aside:
        aside.write_text(json.dumps({"run_id": run_id}) + "\n", encoding="utf-8")


def _connect() -> tuple[Any, str]:
    """A client of the store, and the id of our experiment in it; TrackingError where the store does not answer."""
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry"):  # a new store's schema is no news
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # MLflow's own 7 wait for minutes
    root = store.find_root()
    asked = os.environ.get("MLFLOW_TRACKING_URI")
    uri = asked or f"sqlite:///{root / 'mlflow.db'}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # MLflow's own use of SQLAlchemy
        from mlflow import MlflowClient

        with _as_tracking_error():
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is not None and experiment.lifecycle_stage != "active":
                raise TrackingError(
                    f"{store.name()}: does not take a run: the experiment {EXPERIMENT} was deleted; "
                    f"`mlflow experiments restore -x {experiment.experiment_id}` restores it"
                )
            if experiment is not None:
                return client, str(experiment.experiment_id)
            artifacts = None if asked else (root / "mlartifacts").as_uri()
            return client, str(client.create_experiment(EXPERIMENT, artifact_location=artifacts, tags=EXPERIMENT_TAGS))


@contextlib.contextmanager
def _as_tracking_error() -> Iterator[None]:
    try:
        yield
    except _store_errors() as error:
        raise store.describe(error) from None


def _store_errors() -> tuple[type[Exception], ...]:
    """What MLflow raises where its store does not do as asked, or lacks a driver, or its address is none."""
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, CommandError, OSError, ImportError, ValueError


@contextlib.contextmanager
def _termination_as_exit() -> Iterator[None]:
    """SIGTERM ends the stage by an exception, so that its run is closed; only a main thread may ask for that."""

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
