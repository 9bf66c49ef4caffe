"""Operations of an outbox as calls of MLflow's client. Each may be repeated, because an attempt may fail midway."""

import functools
import itertools
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from openmedq import paths
from openmedq.storage.progress import Answers
from openmedq.tracking import lineage, models, store
from openmedq.tracking.outbox import Operation

_log = logging.getLogger(__name__)

BATCH_METRICS = 1000  # limit of MLflow
TABLES = "mlflow.loggedArtifacts"  # tag of the artifacts that MLflow's page shows as tables
STATUS_OF = {"failed": "FAILED", "stopped": "KILLED"}
# Codes of MLflow for a request that would be refused again, as opposed to a store that does not answer.
REFUSED = frozenset(("BAD_REQUEST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "NOT_FOUND", "RESOURCE_DOES_NOT_EXIST"))
FAILED_DATABASE = re.compile(r"\.(Database|Interface|Internal)Error\)")  # MLflow's code of a damaged one is BAD_REQUEST


class Sender:
    """Sends the operations of a stage to its run. `is_late`: its process has ended, so files may have changed since."""

    def __init__(self, client: Any, run: Any, stage: str, *, is_late: bool = False) -> None:
        self.client, self.stage, self._is_late = client, stage, is_late
        self.run_id, self.experiment_id = run.info.run_id, run.info.experiment_id
        self.has_ended = False
        self._warned: set[str] = set()

    def send(self, operations: Sequence[Operation]) -> None:
        """Send operations in order; what the store refuses for good is dropped with a warning."""
        for kind, group in itertools.groupby(operations, key=lambda operation: str(operation["kind"])):
            if kind == "metrics":
                self._send_metrics(list(group))
                continue
            for operation in group:
                arguments = {name: value for name, value in operation.items() if name != "kind"}
                self._attempt(kind, functools.partial(getattr(self, f"_{kind}"), **arguments))

    def _attempt(self, what: str, action: Callable[[], object]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            action()
        except MlflowException as error:
            if error.error_code not in REFUSED or FAILED_DATABASE.search(str(error)):
                raise
            line = f"{store.name()}: refuses a part of the run ({what}): {store.first_line(error)}"
            if line not in self._warned:  # of a run that was deleted, it would be the same every few seconds
                self._warned.add(line)
                _log.warning(line)

    def _send_metrics(self, operations: Sequence[Operation]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, operation["time_ms"], operation["step"], model_id=self._model_id)
            for operation in operations
            for name, value in operation["values"].items()
        ]
        for start in range(0, len(metrics), BATCH_METRICS):
            batch = metrics[start : start + BATCH_METRICS]
            self._attempt("metrics", functools.partial(self.client.log_batch, self.run_id, metrics=batch))

    @functools.cached_property
    def _model_id(self) -> str | None:
        """The model that the metrics are about: the trained one, once it is trained."""
        if self.stage == "train":
            return None
        return models.find_trained(self.client, self.experiment_id, self.run_id)

    def _tag(self, name: str, value: str) -> None:
        self.client.set_tag(self.run_id, name, value)

    def _status(self, status: str) -> None:
        self.client.update_run(self.run_id, status=status)

    def _table(self, name: str, columns: Sequence[str], data: Sequence[Sequence[object]]) -> None:
        """Log a table in the format of `MlflowClient.log_table`, which appends to an earlier one."""
        path = f"{self.stage}/{name}.json"
        self.client.log_text(self.run_id, json.dumps({"columns": columns, "data": data}), path)
        tables = json.loads(self.client.get_run(self.run_id).data.tags.get(TABLES, "[]"))
        if (table := {"path": path, "type": "table"}) not in tables:
            self._tag(TABLES, json.dumps([*tables, table]))

    def _file(self, path: str, digest: str) -> None:
        """Log a file or folder."""
        local = Path(path)
        if self._has_changed(local, digest):
            return
        if local.is_dir():
            self.client.log_artifacts(self.run_id, path, local.name)
        else:
            folder = local.parent.relative_to("data") if local.parts[0] == "data" else Path(local.parent.name)
            self.client.log_artifact(self.run_id, path, folder.as_posix())

    def _has_changed(self, path: Path, digest: str) -> bool:
        has_changed = self._is_late and (not path.exists() or lineage.hash_path(path) != digest)
        if has_changed:
            _log.warning(f"{path}: changed while {store.name()} did not answer, so it is not recorded in the run")
        return has_changed

    def _checkpoint(self, name: str, step: int, values: Mapping[str, float], time_ms: int) -> None:
        models.record_checkpoint(self.client, self.experiment_id, self.run_id, name, step, values, time_ms)

    def _model(self, digest: str) -> None:
        """Register the trained model, or (of a later stage) one that was restored without its run."""
        if not self._has_changed(paths.MODEL, digest):
            models.register(self.client, self.experiment_id, self.run_id, digest, is_candidate=self.stage == "train")

    def _answers(self, **fields: Any) -> None:
        models.compare(self.client, self.run_id, self.stage, Answers(**fields))

    def _end(self, state: str, reason: str | None) -> None:
        """Set the state of the stage. The run is FAILED or KILLED while one of its stages is."""
        self.has_ended = True
        self._tag(f"stage.{self.stage}", state)
        if reason is not None:
            self._tag(f"stage.{self.stage}.reason", reason)
        tags = self.client.get_run(self.run_id).data.tags
        if reason is None and f"stage.{self.stage}.reason" in tags:  # of an earlier attempt
            self.client.delete_tag(self.run_id, f"stage.{self.stage}.reason")
        states = {value for name, value in tags.items() if name.startswith("stage.") and name.count(".") == 1}
        status = next((status for state, status in STATUS_OF.items() if state in states), "FINISHED")
        self.client.set_terminated(self.run_id, status=status)
