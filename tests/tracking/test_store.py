"""Errors of the MLflow store are one line; runs of killed processes are closed, others are not."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from openmedq import paths
from openmedq.errors import TrackingError
from openmedq.stages import STAGES
from openmedq.tracking import runs, store
from tests.tracking.conftest import run_sql
from tests.tracking.test_runs import Settings

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from openmedq.tracking.outbox import Outbox
outbox = Outbox(Path(), sys.argv[2])
outbox.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _project(empty_store: Path) -> None:
    """Each test has a store of its own."""


def refused() -> str:
    with pytest.raises(TrackingError) as raised, runs.open_run("train", STAGES["train"].artifacts, Settings()):
        pytest.fail("a training without its run")
    line = str(raised.value)
    assert "\n" not in line and "hunter" not in line and "ter2" not in line
    return line


def test_the_error_of_a_deleted_experiment() -> None:
    client, experiment_id = store.connect()
    client.delete_experiment(experiment_id)
    assert "; `mlflow experiments restore -x ID` restores it" in refused()


@pytest.mark.slow
def test_two_processes_open_a_new_store_at_once() -> None:
    Path("mlflow.db").unlink()
    command = [sys.executable, "-c", "from openmedq.tracking import store; store.connect()"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    opened = [subprocess.Popen(command, env=environment, stderr=-1, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in opened]
    assert [process.returncode for process in opened] == [0, 0], said


def test_a_store_of_a_project_that_was_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with runs.open_run("train", (), Settings()):
        pass
    monkeypatch.chdir(tmp_path.rename(tmp_path.with_name("moved")))
    with runs.open_run("evaluate", (), Settings()):
        pass
    client, experiment_id = store.connect()
    (run,) = client.search_runs([experiment_id])
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["lineage.json"]
    with closing(sqlite3.connect("mlflow.db")) as database:
        assert not [line for line in database.iterdump() if f"{tmp_path.as_uri()}/" in line]


@pytest.mark.parametrize("revision", ["0584bdc529eb", "ffffffffffff"])
def test_the_error_of_a_store_of_another_version(revision: str) -> None:
    run_sql(f"update alembic_version set version_num = '{revision}'")
    line = refused()
    assert line.startswith("mlflow.db: can't record a run: ") and f"found version {revision}" in line
    assert "run `mlflow db upgrade sqlite:///mlflow.db`" in line


@pytest.mark.parametrize(
    ("uri", "reason", "advice"),
    [
        ("http://bob:hunter2@127.0.0.1:9", "Connection refused", "start it, or unset MLFLOW_TRACKING_URI"),
        ("http://bob:hun@ter2@127.0.0.1:9", "Connection refused", "start it, or unset MLFLOW_TRACKING_URI"),
        ("nosuch://bob:hunter2@host", "unsupported URI", "set MLFLOW_TRACKING_URI to a server or a database"),
    ],
)
def test_the_error_of_a_server(uri: str, reason: str, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    line = refused()
    assert line.startswith("the server of MLFLOW_TRACKING_URI: can't record a run: ")
    assert reason in line and line.endswith(advice)


def test_a_database_that_does_not_open_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mlflow.db").unlink()
    Path("mlflow.db").mkdir()
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    assert refused().endswith("; make the file and its folder writable")
    assert sum(slept) < 10


@contextmanager
def living_process(run_id: str, stage: str) -> Iterator[subprocess.Popen[str]]:
    """Another process with the open run; killed at the end."""
    command = [sys.executable, "-c", HOLDER, run_id, stage]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def statuses(client: Any, *run_ids: str) -> list[str]:
    return [client.get_run(run_id).info.status for run_id in run_ids]


def test_runs_of_killed_processes_are_closed_and_those_of_others_are_not() -> None:
    client, experiment_id = store.connect()
    killed, living, elsewhere, shared = (client.create_run(experiment_id).info.run_id for _ in range(4))
    of_another_store = "0" * 32
    with living_process(killed, "train"), living_process(shared, "evaluate"), living_process(of_another_store, "train"):
        pass
    with living_process(living, "train"), living_process(shared, "transfer"):
        with runs.open_run("train", STAGES["train"].artifacts, Settings()):
            pass
        assert statuses(client, killed, living, elsewhere, shared) == ["FAILED", "RUNNING", "RUNNING", "RUNNING"]
    tags = client.get_run(killed).data.tags
    assert (tags["stage.train"], tags["stage.train.reason"]) == ("failed", runs.KILLED)
    assert client.get_run(shared).data.tags["stage.evaluate"] == "failed"
    runs.close_dead_runs(client, experiment_id, Path())
    assert statuses(client, killed, living, elsewhere, shared) == ["FAILED", "FAILED", "RUNNING", "FAILED"]
    assert [path.name for path in (paths.PARTIAL / "runs").iterdir()] == [f"{of_another_store}.train"]


def test_the_reason_of_an_error_of_sqlalchemy_is_its_second_line():
    text = (
        "(raised as a result of Query-invoked autoflush; ...)\n(sqlite3.OperationalError) disk is full\n[SQL: UPDATE]"
    )
    assert store.first_line(ValueError(text)) == "(sqlite3.OperationalError) disk is full"
    assert store.first_line(ValueError("")) == "ValueError"
