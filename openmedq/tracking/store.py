"""The MLflow store: one-line error messages, and runs that killed processes left open.

A stage locks a file that is named after its run. The lock ends with the process, also if the process is killed, so an
unlocked file marks a run without a process. The files are in the project: runs of other projects are not touched.
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

_ADVICE = (  # pattern in MLflow's message, and what to do
    (r"database schema|locate revision", "back it up and run `mlflow db upgrade {uri}`, with the newer MLflow version"
     " if another one wrote it"),
    (r"state is deleted|deleted state", "`mlflow experiments restore -x ID` restores it"),
    (r"not a database|malformed|encrypted", "restore it from a backup, or move it away to start a new one"),
    (r"No module named", "install the driver of this database"),
    (r"(?i)database or disk is full|No space left", "free some disk space"),
    (r"(?i)read-?only|permission denied|unable to open", "make the file and its folder writable"),
    (r"(?i)is locked", "another process writes to it; run the command again"),
    (r"(?i)\b40[13]\b|authenticat|unauthorized|permission", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
     ", or MLFLOW_TRACKING_TOKEN"),
    (r"(?i)unsupported URI|maintenance mode|invalid URL|parse", "set MLFLOW_TRACKING_URI to a server or a database"),
)  # fmt: skip


def describe(error: Exception) -> TrackingError:
    """Return one line with MLflow's message and what to do, without passwords of the store's address."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    reason = redact_secrets(" ".join(str(error).split()))[:MAX_REASON_CHARS] or type(error).__name__
    default = "start it, or unset MLFLOW_TRACKING_URI" if uri else "repair it, or move it away to start a new one"
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, reason)), default)
    advice = advice.format(uri="$MLFLOW_TRACKING_URI" if uri else "sqlite:///mlflow.db")
    return TrackingError(f"{name()}: can't record a run: {reason.rstrip('.')}; {advice}")


def name() -> str:
    """Return a name of the store without its address."""
    return "the server of MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") else "mlflow.db"


def redact_secrets(text: str) -> str:
    """Remove the store's user, passwords and token from a text."""
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
    """Return the project's root; in a DVC experiment below .dvc/tmp/exps, the root of the original project."""
    here = Path.cwd()
    for parent in here.parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return here


class Marker:
    """A stage's file for its run, locked while the process lives."""

    def __init__(self, root: Path, stage: str) -> None:
        self._folder, self._stage = root / paths.PARTIAL / "runs", stage
        self._path: Path | None = None
        self._file: IO[str] | None = None

    def mark(self, run_id: str) -> None:
        """Create the locked file."""
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{run_id}.{self._stage}"
        self._file = temporary.open("w")
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        self._path = temporary.replace(self._folder / f"{run_id}.{self._stage}")  # never visible without its lock

    def clear(self) -> None:
        """Remove the file after the run was closed."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock; the file remains if the run could not be closed."""
        if self._file is not None:
            self._file.close()


def close_dead_runs(client: Any, root: Path) -> None:
    """Mark the runs of dead processes as failed. Runs that this store does not have are ignored."""
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
    """Return the file, locked; None if another process holds the lock or has removed the file."""
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
