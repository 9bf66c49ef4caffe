"""MLflow's store as a user meets it: what it refuses as one line, and the runs that killed processes left open.

A stage holds a lock on a file named after its run, which dies with the process, however that ends. A run whose file is
there and not locked belongs to nobody. The files lie in the project, so no run of another project or machine is found.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from openmedq import paths
from openmedq.errors import TrackingError

MAX_REASON_CHARS = 500
KILLED = "the process ended without closing the run: it was killed, or the machine lost power"

_ADVICE = (  # what MLflow's reason holds, and what to do about it
    (r"database schema|locate revision", "back it up and run `mlflow db upgrade {uri}`, with the MLflow that wrote it"
     " where that is newer"),
    (r"state is deleted|deleted state", "`mlflow experiments restore -x ID` restores it"),
    (r"not a database|malformed|encrypted", "restore it from a backup, or move it away for a new one"),
    (r"No module named", "install the driver of this database"),
    (r"(?i)database or disk is full|No space left", "free some space"),
    (r"(?i)read-?only|permission denied|unable to open", "make the file and its folder writable"),
    (r"(?i)is locked", "another process writes to it; run the command again"),
    (r"(?i)\b40[13]\b|authenticat|unauthorized|permission", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
     ", or MLFLOW_TRACKING_TOKEN"),
    (r"(?i)unsupported URI|maintenance mode|invalid URL|parse", "set MLFLOW_TRACKING_URI to a server or a database"),
)  # fmt: skip


def describe(error: Exception) -> TrackingError:
    """One line with MLflow's own reason and what to do; no password of the store's address is in it."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    reason = conceal_secrets(" ".join(str(error).split()))[:MAX_REASON_CHARS] or type(error).__name__
    default = "start it, or unset MLFLOW_TRACKING_URI" if uri else "repair it, or move it away for a new one"
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, reason)), default)
    advice = advice.format(uri="$MLFLOW_TRACKING_URI" if uri else "sqlite:///mlflow.db")
    return TrackingError(f"{name()}: does not take a run: {reason.rstrip('.')}; {advice}")


def name() -> str:
    """The store in use, without its address."""
    return "the server of MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") else "mlflow.db"


def conceal_secrets(text: str) -> str:
    """A text of MLflow's without the user and the passwords that it was given."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    user = uri.partition("://")[2].rpartition("@")[0]
    secrets = [user, os.environ.get("MLFLOW_TRACKING_PASSWORD"), os.environ.get("MLFLOW_TRACKING_TOKEN")]
    with suppress(ValueError):
        password = urlsplit(uri).password or ""
        secrets += [password, unquote(password)]
    for secret in filter(None, secrets):
        text = text.replace(secret, "…")
    return re.sub(r"(?<=://)[^/\s]*@", "", text)


def find_root() -> Path:
    """The project; of an experiment that DVC runs in a copy below .dvc/tmp/exps, the one that it was copied from."""
    here = Path.cwd()
    for parent in here.parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return here


class Marker:
    """A stage's file for its run, locked as long as the process lives."""

    def __init__(self, root: Path, stage: str) -> None:
        self._folder, self._stage = root / paths.PARTIAL / "runs", stage
        self._path: Path | None = None
        self._file: IO[str] | None = None

    def mark(self, run_id: str) -> None:
        """Say that this process has the run open."""
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = self._folder / f".{run_id}.{self._stage}"
        self._file = aside.open("w")
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        self._path = aside.replace(self._folder / f"{run_id}.{self._stage}")  # never there without its lock

    def clear(self) -> None:
        """Say that the run is closed."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the lock; the file stays where the run could not be closed."""
        if self._file is not None:
            self._file.close()


def close_dead_runs(client: Any, root: Path) -> None:
    """Close the runs that no living process has open, as failed. A run that the store does not know is left alone."""
    from mlflow.exceptions import MlflowException

    alive, dead = set(), []
    try:
        for path in sorted((root / paths.PARTIAL / "runs").glob("[!.]*.*")):
            file = _lock(path)
            if file is None:
                alive.add(path.stem)
            else:
                dead.append((path, file))
        for path, _ in dead:
            with suppress(MlflowException):
                _close(client, path.stem, path.suffix[1:], is_shared=path.stem in alive)
                path.unlink()
    finally:
        for _, file in dead:
            file.close()


def _lock(path: Path) -> IO[str] | None:
    """The file, locked; None where another process has it, or has removed it."""
    try:
        file = path.open("r+")
    except FileNotFoundError:
        return None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _close(client: Any, run_id: str, stage: str, *, is_shared: bool) -> None:
    if client.get_run(run_id).info.status != "RUNNING":
        return
    client.set_tag(run_id, f"stage.{stage}", "failed")
    client.set_tag(run_id, f"stage.{stage}.reason", KILLED)
    if not is_shared:
        client.set_terminated(run_id, status="FAILED")
