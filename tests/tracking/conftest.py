"""An empty store in an empty folder."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from openmedq.tracking import store


@pytest.fixture(scope="session")
def _new_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without runs; its creation takes seconds."""
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store.connect()
    return root / "mlflow.db"


def enter(root: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder with a copy of a store the current one."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(root)
    shutil.copy(database, "mlflow.db")
    run_sql(f"update experiments set artifact_location = '{(root / 'mlartifacts').as_uri()}'")


def run_sql(statement: str) -> None:
    with closing(sqlite3.connect("mlflow.db")) as connection, connection:
        connection.execute(statement)


def read_runs() -> list[Any]:
    """All runs, the latest last."""
    client, experiment_id = store.connect()
    return list(client.search_runs([experiment_id], order_by=["attributes.start_time"]))


@pytest.fixture
def empty_store(_new_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder has a store without runs, and a model."""
    enter(tmp_path, _new_store, monkeypatch)
    Path("data/model").mkdir(parents=True)
    Path("data/model/config.json").write_text("{}")
    return tmp_path
