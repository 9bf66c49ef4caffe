"""What a stage logs: buffered, sent every few seconds, kept on disk while the store does not answer."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openmedq import paths
from openmedq.errors import OpenMedQError
from openmedq.storage.progress import Answers
from openmedq.tracking import lineage, outbox, store
from openmedq.tracking.sending import Sender
from openmedq.tracking.system import SystemMonitor

_log = logging.getLogger(__name__)

FLUSH_S = 5.0
SYSTEM_S = 10.0  # between two measurements of the system, as MLflow's own
MAX_METRICS = 60  # names of a run: more are not readable on its page; tables hold the rest
STOPPED = "the process was asked to stop"


class RunLogger:
    """The `Log` of a stage. The first error of the store is reported; errors do not stop the stage."""

    def __init__(
        self, client: Any, run: Any, stage: str, box: outbox.Outbox, renew: Callable[[], Any] | None = None
    ) -> None:
        """Set the run's status to RUNNING.

        `renew` creates another run, which is used if this one belongs to a resumed training whose first update is step
        1: it did not find its checkpoint usable, and starts anew.
        """
        self._client, self._stage, self._box, self._renew = client, stage, box, renew
        self._warned: set[str] = set()
        self._system = SystemMonitor() if stage == "train" else None
        self._measured = time.monotonic()
        self._begin(run)

    def _begin(self, run: Any) -> None:
        self._sender = Sender(self._client, run, self._stage)
        # Of a resumed run: a step that is computed again is not logged again.
        self._last_steps = {metric.key: metric.step for metric in run.data._metric_objs}
        self._names = set(self._last_steps)
        own = f"{self._stage}/"
        self._step = max((step for name, step in self._last_steps.items() if name.startswith(own)), default=0)
        self._tags = run.data.tags
        self._flushed = time.monotonic()
        self._box.add("status", status="RUNNING")
        self._box.add("tag", name=f"stage.{self._stage}", value="running")
        self._flush()

    def __call__(self, metrics: Mapping[str, float], step: int | None) -> None:
        """Log metrics of a step, or final ones (None: of the last step), with the stage as prefix: `train/loss`."""
        if step is not None:
            self._check_start(step)
            self._step = step
        self._add({f"{self._stage}/{name}": float(value) for name, value in metrics.items()}, step)
        now = time.monotonic()
        if self._system is not None and now - self._measured > SYSTEM_S:
            self._measured = now
            self._add(self._system.measure(), self._step)
        if now - self._flushed > FLUSH_S:
            self._flush()

    def checkpoint(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """Record a checkpoint as a LoggedModel. What was logged before it is not lost if the process is killed."""
        values = {key: float(value) for key, value in metrics.items()}
        self._names.update(values)
        self._box.add("checkpoint", name=name, step=step, values=values, time_ms=_now_ms())
        self._flush(is_kept=True)

    def table(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Log a table as the artifact <stage>/<name>.json, which MLflow's page shows."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        data = [[_as_cell(row.get(column)) for column in columns] for row in rows]
        self._box.add("table", name=name, columns=columns, data=data)

    def describe(self, text: str) -> None:
        """Set the run's description, in Markdown."""
        self._box.add("tag", name=store.DESCRIPTION, value=text)

    def answers(self, answers: Answers) -> None:
        """Store which questions were answered right, and compare the model with the champion."""
        self._box.add("answers", **asdict(answers))

    def attach_outputs(self, artifacts: Sequence[Path]) -> None:
        """Attach the stage's artifacts and, after a training, the model and its md5."""
        for path in artifacts:
            if path.exists():
                self._box.add("file", path=path.as_posix(), digest=lineage.hash_path(path))
        if self._stage == "train" and paths.MODEL.is_dir():
            self.attach_model(lineage.hash_folder(paths.MODEL))

    def attach_model(self, digest: str) -> None:
        """Attach and register data/model, whose md5 is given."""
        self._box.add("tag", name="md5.model", value=digest)
        self._box.add("model", digest=digest)

    def close(self, error: BaseException | None = None) -> None:
        """End the stage: finished, or failed or stopped by an error."""
        is_stopped = isinstance(error, (SystemExit, KeyboardInterrupt))
        state = "finished" if error is None else "stopped" if is_stopped else "failed"
        self._box.add("end", state=state, reason=None if error is None else _explain(error))
        self._box.end_pause()
        if self._flush():
            self._box.remove()

    def _check_start(self, step: int) -> None:
        """Tag a run that is resumed; leave it if its training starts anew."""
        renew, self._renew = self._renew, None
        if renew is None:
            return
        if step > 1:
            times = int(self._tags.get("resumed", "0")) + 1
            for name, value in (lineage.read_git() | {"resumed": str(times)}).items():
                self._box.add("tag", name=name, value=value)
            return
        stage = f"stage.{self._stage}"
        self._box.add("end", state=self._tags[stage], reason=self._tags.get(f"{stage}.reason"))
        if self._flush():
            self._box.remove()
        with store.as_tracking_error():
            self._begin(renew())

    def _add(self, metrics: Mapping[str, float], step: int | None) -> None:
        """Queue metrics, but not more than MAX_METRICS names, and no step twice."""
        values = {}
        for name, value in metrics.items():
            if name not in self._names and len(self._names) >= MAX_METRICS:
                self._warn(f"a run has at most {MAX_METRICS} metrics: {name} and further ones are not logged", "names")
            elif step is None or step > self._last_steps.get(name, -1):
                self._names.add(name)
                values[name] = value
        if values:
            self._box.add("metrics", values=values, step=self._step if step is None else step, time_ms=_now_ms())

    def _flush(self, *, is_kept: bool = False) -> bool:
        """Send what waits; if the store fails, it stays in the outbox. `is_kept`: write it there first."""
        self._flushed = time.monotonic()
        try:
            if is_kept:
                self._box.keep()
            return self._box.flush(self._sender.send)
        except store.errors() as error:
            self._warn(
                f"{store.name()}: does not answer: {store.first_line(error)}; what the run lacks is kept in "
                f"{outbox.FOLDER} and sent later",
                "store",
            )
            return False

    def _warn(self, line: str, kind: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            _log.warning(line)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _as_cell(value: object) -> object:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _explain(error: BaseException) -> str:
    """Return one line on why the stage ended; of unexpected errors only the type, because messages may hold data."""
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return STOPPED
    if isinstance(error, OpenMedQError):
        return lineage.redact_paths(store.redact_secrets(str(error)))[: store.MAX_REASON_CHARS]
    return type(error).__name__
