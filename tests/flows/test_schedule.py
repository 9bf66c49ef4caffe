import contextlib
import os
import sqlite3
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, Settings, temporary_settings

from flows import schedule, walk
from flows.build import build
from flows.schedule import DEPLOYMENTS, declare_pools, name_pools
from tests.processes import find_port

ROOT = Path(__file__).parents[2]


def test_deployments_are_flows_of_two_pools_and_no_schedule_is_active():
    pools = {}
    for deployment in yaml.safe_load((ROOT / DEPLOYMENTS).read_text())["deployments"]:
        file, name = deployment["entrypoint"].split(":")
        flow = getattr(import_module(file.removesuffix(".py").replace("/", ".")), name)
        assert isinstance(flow, Flow)
        assert set(deployment["parameters"]) <= set(flow.parameters.properties)
        assert not any(schedule["active"] for schedule in deployment.get("schedules", []))
        pools[deployment["entrypoint"]] = deployment["work_pool"]["name"]
    assert pools == {"flows/build.py:build": "cpu", "flows/learn.py:learn": "gpu"}


def test_without_a_server_it_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["flows.schedule"])
    monkeypatch.setattr(schedule, "get_current_settings", lambda: Settings(api={"url": None}))
    assert schedule.main() == 1
    assert capsys.readouterr().err.startswith("error: no Prefect server: set PREFECT_API_URL")


@pytest.mark.parametrize("start", [lambda: walk.run_by_hand(build, []), schedule.main], ids=["a flow", "schedule"])
def test_a_server_that_does_not_answer_is_one_line(start, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["flows.schedule"])
    with temporary_settings({PREFECT_API_URL: f"http://reader:battery@127.0.0.1:{find_port()}/api"}):
        assert start() == 1
    line = capsys.readouterr().err
    assert line.startswith("error: PREFECT_API_URL: Prefect's server does not answer (ConnectError); start it")
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("home", "reason"), [("home", "RuntimeError"), ("/proc/none", "[Errno 2] No such file or directory: '/proc/none'")]
)
def test_a_temporary_server_that_does_not_start_is_one_line(home, reason, tmp_path, monkeypatch, capsys):
    def start(**_):
        raise RuntimeError

    monkeypatch.setattr(walk, "get_client", start)
    with temporary_settings({PREFECT_HOME: str(tmp_path / home)}, restore_defaults={PREFECT_API_URL}):
        assert walk.run_by_hand(build, []) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: Prefect's temporary server: {reason}; run the command again, or start")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("is_newer", "reason"),
    [(False, "(sqlite3.DatabaseError) file is not a database"), (True, "Can't locate revision identified by 'feed'")],
)
def test_a_database_that_cannot_be_used_is_one_line(is_newer, reason, tmp_path):
    database = tmp_path / "prefect.db"
    if is_newer:
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("CREATE TABLE alembic_version AS SELECT 'feed' AS version_num")
    else:
        database.write_bytes(b"damaged" * 1000)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-m", "flows.build"],
        env=environment | {"PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,  # the server would start again and again
    )
    assert done.stderr == (
        f"error: {tmp_path}: Prefect's database can't be used: {reason}; move it away, or set PREFECT_HOME to another "
        "folder\n"
    )
    assert done.returncode == 1


def test_pools_are_created_once(prefect_server):
    names = name_pools(ROOT / DEPLOYMENTS)
    assert names == ["cpu", "gpu"]
    declare_pools(names)
    declare_pools(names)
    with get_client(sync_client=True) as client:
        pools = {pool.name: pool.type for pool in client.read_work_pools()}
    assert (pools["cpu"], pools["gpu"]) == ("process", "process")
