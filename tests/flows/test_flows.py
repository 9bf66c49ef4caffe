import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from flows import reproduce, walk
from flows.build import build
from flows.graph import nodes
from flows.learn import learn
from flows.walk import WalkError
from openmedq.errors import StaleError
from openmedq.stages import STAGES
from tests.connections import read_attempts
from tests.processes import is_alive

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(autouse=True)
def _in_toy(toy, monkeypatch):
    monkeypatch.chdir(toy)
    monkeypatch.setattr(walk, "_check_local_folder", lambda root: None)  # the toy project has no `openmedq locate`


def read_runs():
    with get_client(sync_client=True) as client:
        return client.read_task_runs()


def read_artifacts():
    with get_client(sync_client=True) as client:
        return {artifact.key: artifact for artifact in client.read_latest_artifacts()}


@pytest.mark.slow
def test_the_flows_run_every_node_and_a_second_flow_none(toy, dvc, prefect_server, monkeypatch, caplog):
    taken = []
    take = reproduce.concurrency
    monkeypatch.setattr(reproduce, "concurrency", lambda slot, **options: taken.append(slot) or take(slot, **options))
    before = {run.id for run in read_runs()}
    build(max_workers=2)
    learn()
    assert dvc("status").stdout.strip() == "Data and pipelines are up to date."
    runs = {run.name: run for run in read_runs() if run.id not in before}
    assert set(runs) == {node.name for node in nodes(toy)}
    assert {"normalize", "apple"} == set(runs["normalize@apple"].tags)
    assert "dead-locks" not in caplog.text  # nodes start in topological order
    assert runs["train"].end_time <= runs["evaluate"].start_time
    assert taken == ["gpu"] * 3

    learn()
    artifacts = read_artifacts()
    assert artifacts["nodes"].data.startswith("4 cached\n") and "| `train` | cached |" in artifacts["nodes"].data
    assert "| PathVQA |" in artifacts["results"].data
    assert artifacts["nodes"].data.endswith("\n- `data/report/index.html`")
    build(targets=["miniature@apple"])
    latest = read_artifacts()
    assert latest["nodes"].latest_id != artifacts["nodes"].latest_id
    assert latest["results"].latest_id == artifacts["results"].latest_id, "scores of another run"
    with get_client(sync_client=True) as client:
        assert client.read_global_concurrency_limit_by_name("gpu").limit == 1
    assert walk.render([reproduce.Outcome("validate", "ran", 1.0)]).endswith("\n- `data/docs/index.html`")
    assert read_attempts(prefect_server.folder) == [], "neither the server nor a node used the network"


def test_a_failing_node_fails_the_flow_in_one_line_and_nothing_after_it_runs(toy):
    Path("fail-miniature@apple").write_text("1 9 error: apple.csv: no column `question`")
    with pytest.raises(WalkError) as raised:
        build()
    assert str(raised.value) == "miniature@apple: apple.csv: no column `question`; 10 not run"
    assert (toy / "data/miniature/plum").exists()  # nodes that do not depend on it have run
    assert not (toy / "data/manifest").exists()

    with pytest.raises(StaleError, match=r"^\S+ and \d+ more: not up to date; run `python -m flows.build` first$"):
        learn()
    assert not (toy / "data/model").exists()


def test_learn_runs_every_node_that_build_does_not(toy, dvc):
    """The encoder of transfer may be independent of the training, and so of the validation."""
    file = toy / "dvc.yaml"
    head, transfer, rest = file.read_text().partition("stage.py transfer")
    file.write_text(head + transfer + rest.replace("data/model", "data/mix", 1))
    assert dvc("repro", "-q", "validate").returncode == 0
    learn(targets=["transfer"])
    assert (toy / "data/transfer/ours/metrics.json").exists() and not (toy / "data/model").exists()


def test_temporary_errors_are_retried_and_user_errors_are_not(toy, monkeypatch):
    monkeypatch.setitem(reproduce.STAGES, "miniature", replace(STAGES["miniature"], retry_delays_s=(0.1, 0.1)))
    Path("fail-miniature@apple").write_text("75 1 error: host: cut off")
    Path("fail-miniature@plum").write_text("1 9 error: mirror: no folder")
    with pytest.raises(WalkError, match=r"^miniature@plum: mirror: no folder; 0 not run$"):
        build(targets=["miniature"])
    failures_left = {name: Path(f"fail-miniature@{name}").read_text().split()[1] for name in ("apple", "plum")}
    assert failures_left == {"apple": "0", "plum": "8"}, "apple was retried, plum was not"
    assert (toy / "data/miniature/apple").exists()
    with get_client(sync_client=True) as client:
        assert "build: miniature" in {run.name for run in client.read_flow_runs()}


@pytest.fixture
def _interruptible():
    """SIGINT as in a terminal: shells start background jobs with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupted_flow_leaves_no_stage_behind(toy):
    Path("sleep-miniature@apple").write_text("60")
    pid_file = toy / "pid-miniature@apple"

    def interrupt():
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        build(targets=["miniature@apple"])
    assert not is_alive(int(pid_file.read_text()))
    assert not (toy / "data/miniature/apple").exists(), "the flow waited for the stage"
    assert "pid" not in (toy / ".dvc/tmp/rwlock").read_text(), "DVC ended by itself, and not while it wrote dvc.lock"
