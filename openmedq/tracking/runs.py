"""MLflow runs: one per training, joined by the later stages. Only this package uses mlflow.

DVC hashes the data and MLflow records the runs, so that a score can be traced to the published files:

    metric of a run
      -> tags `md5.mix`, `md5.validation`, `md5.model`, and one dataset input per dataset of the mix, whose digest is
         DVC's md5 of data/samples/<id>
      -> artifact lineage.json: per dataset the md5 of samples and raw, and URL and sha256 of each published file
      -> dvc.lock of the tagged git commit: the same md5 with the commands, for `dvc checkout`

Never logged: texts and ids of records (except for the report page, which shows predictions of open sources only), the
environment, user and host names, folders outside the project, passwords in URLs.

A training that was killed, stopped or has failed, or whose model DVC did not record, continues its run, if
data/checkpoints has a checkpoint and project, data and settings are the same (tags `project`, `md5.mix` and
`digest.train`).

The store is `mlflow.db` with `mlartifacts/` in the project's root (of DVC's queued experiments: the original project's
root), or the server in MLFLOW_TRACKING_URI. `evaluate`, `transfer` and `report` find their run by the md5 of
data/model: if DVC restores a model from its cache, they join the run of its training. If the store has no such run, the
first of them starts one, tagged `restored: true`. Errors of the store while a stage runs do not stop the stage: what
the run lacks is kept and sent later (`outbox.py`).
"""

import contextlib
import hashlib
import json
import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from openmedq import config, paths
from openmedq.config import Params
from openmedq.config.learning import identify
from openmedq.storage.progress import Log, NoLog
from openmedq.storage.publish import replace_text
from openmedq.tracking import lineage, store
from openmedq.tracking.logger import RunLogger
from openmedq.tracking.outbox import Outbox, find_left
from openmedq.tracking.sending import Sender

MAX_PARAM_CHARS = 6000  # this and the next: limits of MLflow
BATCH_PARAMS = 100
KEY = "outbox"  # tag: the name of the run's files in the outbox
KILLED = "the process ended without closing the run: it was killed, or the machine lost power"
OWN_SECTIONS = ("download", "execution")  # of params: where files are and how stages run; no profile is meant by them


@contextlib.contextmanager
def open_run(stage: str, artifacts: Sequence[Path], params: Params) -> Iterator[Log]:
    """Start or resume the run of a training, or join the run of data/model; yield what logs to it.

    `log({"loss": 0.3}, step)` is buffered; step None is for a final score. The run ends as FAILED if the stage raises,
    and as KILLED if it exits, as after SIGTERM. A stage may install its own handler of SIGTERM, and should then raise
    SystemExit. In a distributed training, only the main process has a run.

    Raises:
        TrackingError: the store does not answer.
    """
    if os.environ.get("RANK", "0") != "0":
        yield NoLog()
        return
    client, experiment_id = store.connect()
    root = store.find_root()
    box = Outbox(root, stage)
    with _exit_on_sigterm() as ignore_sigterm, contextlib.closing(box):
        with store.as_tracking_error():
            close_dead_runs(client, experiment_id, root)
            if stage == "train":
                logger = _open_training(client, experiment_id, params, box)
            else:
                logger = _join(client, experiment_id, params, box)
        try:
            yield logger
            logger.attach_outputs(artifacts)
        except BaseException as error:
            ignore_sigterm()  # such as a second one, from `die_with_dvc`: the run would stay RUNNING
            logger.close(error)
            raise
        logger.close()


def close_dead_runs(client: Any, experiment_id: str, root: Path) -> None:
    """Send what dead processes have left, and close their runs. Runs that this store does not have are ignored."""
    from mlflow.exceptions import MlflowException

    left, alive = find_left(root)
    try:
        for box in left:
            with contextlib.suppress(MlflowException):
                for run in _find_runs(client, experiment_id, box.key):
                    sender, run_id = Sender(client, run, box.stage, is_late=True), run.info.run_id
                    box.flush(sender.send)
                    if not sender.has_ended and client.get_run(run_id).info.status == "RUNNING":
                        client.set_tag(run_id, f"stage.{box.stage}", "failed")
                        client.set_tag(run_id, f"stage.{box.stage}.reason", KILLED)
                        if box.key not in alive:
                            client.set_terminated(run_id, status="FAILED")
                box.remove()
    finally:
        for box in left:
            box.close()


def _find_runs(client: Any, experiment_id: str, key: str) -> list[Any]:
    """Return the runs with a key: several if an answer of the store was lost. A key may also be a run's id."""
    return list(client.search_runs([experiment_id], f"tags.{KEY} = '{key}'")) or [client.get_run(key)]


def _open_training(client: Any, experiment_id: str, params: Params, box: Outbox) -> RunLogger:
    def create() -> Any:
        return _create(client, experiment_id, params, box)

    run = _find_earlier(client, experiment_id, params)
    if run is None:
        return RunLogger(client, create(), "train", box)
    _open(box, run)
    return RunLogger(client, run, "train", box, renew=create)


def _find_earlier(client: Any, experiment_id: str, params: Params) -> Any | None:
    """Return the last run of an equal training; None without a checkpoint to resume from."""
    if not any(paths.CHECKPOINTS.glob("[!.]*")):
        return None
    wanted = _identify(params)
    query = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
    found = client.search_runs([experiment_id], query, order_by=["attributes.start_time DESC"], max_results=1)
    has_ended = found and found[0].info.status != "RUNNING" and "stage.train" in found[0].data.tags
    return found[0] if has_ended else None


def _identify(params: Params) -> dict[str, str]:
    """Return tags that are equal for equal trainings of this project: another one may log to the same store."""
    md5 = lineage.read_md5s().get(paths.MIX.as_posix())
    text = json.dumps(identify(_dump(params)["train"]), sort_keys=True)
    name = paths.PARTIAL / "project"
    if not name.exists():
        replace_text(name, uuid.uuid4().hex)
    project = f"{name.read_text(encoding='utf-8')}-{name.stat().st_ino}"  # of a copied project, the file is another
    tags = {"digest.train": hashlib.sha256(text.encode()).hexdigest()[:16], "project": project}
    return tags | {"md5.mix": md5} if md5 else tags


def _dump(params: Params) -> dict[str, Any]:
    return params.model_dump(mode="json", by_alias=True)


def _find_profile(params: Params) -> str:
    """Return the name of the profile that the params equal, except for OWN_SECTIONS; `custom` if there is none."""

    def compared(tree: Mapping[str, Any]) -> dict[str, Any]:
        return {name: section for name, section in tree.items() if name not in OWN_SECTIONS}

    ours = compared(_dump(params))
    names = sorted(path.stem for path in paths.CONF.glob("*.yaml"))
    return next((name for name in names if compared(_dump(config.profile(paths.CONF, name))) == ours), "custom")


def _create(client: Any, experiment_id: str, params: Params, box: Outbox, **more_tags: str) -> Any:
    """Create a run with tags, params, dataset inputs and lineage.json."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

    md5s = lineage.read_md5s()
    hashed = [path for path in (paths.MIX, paths.VALIDATION) if path.as_posix() in md5s]
    tags = lineage.read_git() | {f"md5.{path.name}": md5s[path.as_posix()] for path in hashed} | more_tags
    tags |= _identify(params) | {"profile": _find_profile(params)}
    inputs = lineage.read_inputs(md5s)
    tags |= {store.DESCRIPTION: lineage.describe(inputs)} if inputs else {}
    box.open(uuid.uuid4().hex)  # first: a run whose creation is not answered is found by its key
    run = client.create_run(experiment_id, tags={KEY: box.key})
    run_id = run.info.run_id
    for other in _find_runs(client, experiment_id, box.key):
        if other.info.run_id != run_id:
            client.delete_run(other.info.run_id)
    short = tags.get("dvc.experiment") or run_id[:6]
    client.update_run(run_id, name=f"{tags['profile']} {datetime.now(UTC):%Y-%m-%d} {short}")

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    flat = lineage.flatten(_dump(params), MAX_PARAM_CHARS)
    settings = [Param(name, value) for name, value in flat.items()]
    for start in range(0, len(settings), BATCH_PARAMS):
        client.log_batch(run_id, params=settings[start : start + BATCH_PARAMS])

    datasets = []
    for each in inputs:
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


def _open(box: Outbox, run: Any) -> None:
    box.open(run.data.tags.get(KEY, run.info.run_id))


def _join(client: Any, experiment_id: str, params: Params, box: Outbox) -> RunLogger:
    """Log to the latest run of data/model, or to a new run if the store has none."""
    md5 = lineage.hash_folder(paths.MODEL)
    query, order = f"tags.`md5.model` = '{md5}'", ["attributes.start_time DESC"]
    found = client.search_runs([experiment_id], query, order_by=order, max_results=1)
    if found:
        _open(box, found[0])
        return RunLogger(client, found[0], box.stage, box)
    logger = RunLogger(client, _create(client, experiment_id, params, box, restored="true"), box.stage, box)
    logger.attach_model(md5)
    return logger


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[Callable[[], object]]:
    """Turn SIGTERM into SystemExit, so that the run is closed; yield a function after which it is ignored.

    Has no effect outside the main thread.
    """

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:
        yield lambda: None
        return
    try:
        yield lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGTERM, before)
