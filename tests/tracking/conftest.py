"""An empty store in an empty folder."""

import shutil
import sqlite3
from pathlib import Path

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


@pytest.fixture
def empty_store(_new_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder has a store without runs, and a model."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(_new_store, "mlflow.db")
    with sqlite3.connect("mlflow.db") as database:
        database.execute("update experiments set artifact_location = ?", [(tmp_path / "mlartifacts").as_uri()])
    database.close()
    Path("data/model").mkdir(parents=True)
    Path("data/model/config.json").write_text("{}")
    return tmp_path
