"""The MLflow store: how it is opened, and one-line messages of its errors."""

import contextlib
import logging
import os
import re
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from openmedq.errors import TrackingError
from openmedq.storage.publish import exclusive

_log = logging.getLogger(__name__)

EXPERIMENT = "openmedq"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # selects the layout of MLflow's pages
DESCRIPTION = "mlflow.note.content"  # tag of a run that MLflow's page shows as Markdown
MAX_REASON_CHARS = 500
MAX_RETRIES, TIMEOUT_S = 2, 30  # of a request; MLflow's own 7 and 120 would stop a training for minutes
MAX_ATTEMPTS = 6  # to open a database: 6 s; MLflow's own 10 are 100 s
_RUNS = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))
_LOCATIONS = (*_RUNS, ("model_versions", "source"), ("model_versions", "storage_location"))  # table, column

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


def connect() -> tuple[Any, str]:
    """Return a client and the experiment's id; TrackingError if the store does not answer."""
    for logger in ("alembic", "mlflow.store.model_registry"):  # they log a new store's schema
        logging.getLogger(logger).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # as they do; and a stack trace of each error
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(MAX_RETRIES))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT_S))
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    root = find_root()
    server = os.environ.get("MLFLOW_TRACKING_URI")
    uri = server or f"sqlite:///{root / 'mlflow.db'}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from MLflow's use of SQLAlchemy
        from mlflow import MlflowClient
        from mlflow.store.db import utils

        utils.MAX_RETRY_COUNT = MAX_ATTEMPTS
        artifacts = None if server else (root / "mlartifacts").as_uri()
        lock = contextlib.nullcontext() if server else exclusive(Path("mlflow.db"))
        with as_tracking_error(), contextlib.chdir(root), lock:
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is not None:
                location = str(experiment.artifact_location)
                if artifacts and location.startswith("file:") and location != artifacts:
                    _move_artifacts(root / "mlflow.db", location, artifacts)
                return client, str(experiment.experiment_id)
            return client, str(client.create_experiment(EXPERIMENT, artifact_location=artifacts, tags=EXPERIMENT_TAGS))


def _move_artifacts(database: Path, old: str, new: str) -> None:
    """Replace the address of the artifacts in the database of a project that was moved or copied."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for table, column in _LOCATIONS:
            statement = f"update {table} set {column} = ? || substr({column}, ?) where instr({column}, ?) = 1"
            connection.execute(statement, (new, len(old) + 1, old))
    _log.info("mlflow.db: its artifacts are now those in %s, because this project was moved or copied", new)


@contextlib.contextmanager
def as_tracking_error() -> Iterator[None]:
    """Turn errors of the store into a TrackingError."""
    try:
        yield
    except errors() as error:
        raise describe(error) from None


def errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that MLflow raises if its store fails, a driver is missing or the URI is invalid."""
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, CommandError, OSError, ImportError, ValueError, sqlite3.Error


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


def first_line(error: Exception) -> str:
    """Return the first line of a message that has a reason, without the store's passwords."""
    lines = (line for line in str(error).splitlines() if not line.startswith("(raised as a result of"))
    return redact_secrets(next(lines, type(error).__name__))


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
