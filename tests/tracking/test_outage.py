"""A store that does not answer while a stage runs: nothing is lost, and the stage is not slowed down."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from openmedq import paths
from openmedq.errors import TrackingError
from openmedq.tracking import logger, outbox, runs, store
from openmedq.tracking.sending import Sender
from tests.processes import find_port, wait
from tests.tracking.conftest import read_runs
from tests.tracking.test_runs import Settings

WARNING = (
    "mlflow.db: does not answer: https://host: the database is gone; what the run lacks is kept in data/.partial/runs "
    "and sent later\n"
)


@pytest.fixture(autouse=True)
def _in_store(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logger, "FLUSH_S", 0.0)


class Outage:
    """Fails all requests while it `is_on`, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_on, self.kills, self.num_attempts = False, False, 0
        send = Sender.send

        def attempt(sender: Sender, operations: list[outbox.Operation]) -> None:
            self.num_attempts += 1
            if self.kills:  # while it waits for an answer
                os.kill(os.getpid(), signal.SIGKILL)
            if self.is_on:
                raise MlflowException("https://me:hunter2@host: the database is gone\nat /some/line")
            send(sender, operations)

        monkeypatch.setattr(Sender, "send", attempt)


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    return Outage(monkeypatch)


def read_run():
    (run,) = read_runs()
    return run


def read_steps(name: str = "train/loss") -> list[int]:
    client, _ = store.connect()
    return [metric.step for metric in client.get_metric_history(read_run().info.run_id, name)]


def left() -> list[Path]:
    return list((paths.PARTIAL / "runs").iterdir())


def test_what_an_outage_kept_is_sent_when_the_store_answers_again(outage, logged) -> None:
    with runs.open_run("train", (), Settings()) as log:
        log({"loss": 1.0}, 1)
        outage.is_on, outage.num_attempts = True, 0
        for step in range(2, 500):
            log({"loss": float("nan")}, step)
        log.checkpoint("step-499", 499, {"validation_loss": 0.5})
        assert outage.num_attempts == 1, "within a pause the store is left alone"
        assert len(left()[0].read_text().splitlines()) == 499
        outage.is_on = False
        log._box.end_pause()
        log({"loss": 1.0}, 500)
        assert left()[0].read_text() == ""
        assert read_steps() == list(range(1, 501))
    assert read_run().info.status == "FINISHED" and left() == []
    assert logged() == WARNING, "one line"


def test_what_is_left_at_the_end_is_sent_by_the_next_stage(outage, logged) -> None:
    Path("data/training").mkdir()
    (paths.TRAINING / "metrics.json").write_text("{}")
    (paths.TRAINING / "loss.csv").write_text("step,loss\n")
    with runs.open_run("train", (paths.TRAINING / "metrics.json", paths.TRAINING / "loss.csv"), Settings()) as log:
        outage.is_on = True
        log({"loss": 1.0}, 1)
        log.table("losses", [{"step": 1, "loss": float("inf")}])
    assert read_run().info.status == "RUNNING" and len(left()) == 1
    assert logged() == WARNING
    outage.is_on = False
    (paths.TRAINING / "loss.csv").write_text("of another training")
    with runs.open_run("evaluate", (), Settings()) as log:
        log({"score": 1.0}, None)
    run = read_run()
    assert run.info.status == "FINISHED" and run.data.tags["stage.train"] == "finished"
    assert set(run.data.metrics) == {"train/loss", "evaluate/score"}, "found by the md5 of its model"
    client, _ = store.connect()
    assert [item.path for item in client.list_artifacts(run.info.run_id, "training")] == ["training/metrics.json"]
    table = Path(client.download_artifacts(run.info.run_id, "train/losses.json")).read_text()
    assert table == '{"columns": ["step", "loss"], "data": [[1, null]]}'
    assert client.get_registered_model("openmedq").aliases == {"candidate": 1}
    assert left() == []
    assert logged() == (
        "data/training/loss.csv: changed while mlflow.db did not answer, so it is not recorded in the run\n"
    )


@pytest.mark.parametrize("moment", ["    outage.is_on = True\n", "    outage.kills = True\n"], ids=["after", "during"])
def test_a_training_killed_in_an_outage_has_lost_nothing_before_its_checkpoint(moment: str) -> None:
    (paths.CHECKPOINTS / "step-3").mkdir(parents=True)
    code = (
        "import os, pytest, signal\nfrom openmedq.tracking import runs\n"
        "from tests.tracking.test_outage import Outage, Settings\n"
        "outage = Outage(pytest.MonkeyPatch())\n"
        "with runs.open_run('train', (), Settings()) as log:\n"
        f"{moment}"
        "    for step in (1, 2, 3):\n        log({'loss': 1.0}, step)\n"
        "    log.checkpoint('step-3', 3, {'loss': 1.0})\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with (left()[0]).open("a") as file:
        file.write('{"kind": "metrics", "val')  # a line that was being written
    with runs.open_run("train", (), Settings()) as log:
        assert read_steps() == [1, 2, 3]
        log({"loss": 1.0}, 4)
    assert read_steps() == [1, 2, 3, 4]
    assert read_run().info.status == "FINISHED" and left() == []


def test_what_the_store_refuses_for_good_does_not_block_the_rest(logged) -> None:
    with runs.open_run("train", (), Settings()) as log:
        log({"loss of $bad": 1.0}, 1)
        log({"loss": 1.0}, 2)
        log({"loss of $bad": 1.0}, 3)
    assert set(read_run().data.metrics) == {"train/loss"} and read_run().info.status == "FINISHED"
    (line,) = logged().splitlines()
    assert line.startswith("mlflow.db: refuses a part of the run (metrics): Invalid value")


def test_a_damaged_database_is_no_refusal() -> None:
    with runs.open_run("train", (), Settings()) as log:
        whole = Path("mlflow.db").read_bytes()
        Path("mlflow.db").write_bytes(b"damaged" * 1000)
        log({"loss": 1.0}, 1)
        Path("mlflow.db").write_bytes(whole)
    assert read_steps() == [1]


@pytest.mark.parametrize("is_repeated", [True, False], ids=["by MLflow's client", "by the next stage"])
def test_a_run_whose_creation_was_not_answered_does_not_stay_open(is_repeated, monkeypatch) -> None:
    def lose(client: MlflowClient, *arguments: object, **options: object) -> object:
        create(client, *arguments, **options)
        if is_repeated:
            return create(client, *arguments, **options)
        raise MlflowException("Connection aborted")

    create = MlflowClient.create_run
    with monkeypatch.context() as patch, nullcontext() if is_repeated else pytest.raises(TrackingError):
        patch.setattr(MlflowClient, "create_run", lose)
        with runs.open_run("train", (), Settings()):
            pass
    with runs.open_run("evaluate", (), Settings()):
        pass
    found = [run.info.status for run in read_runs()]
    assert sorted(found) == (["FINISHED"] if is_repeated else ["FAILED", "FINISHED"])


@contextmanager
def server(root: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    command = (sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    folders = ("--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "mlartifacts")
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    with subprocess.Popen([*command, *folders], cwd=root, env=environment, **quiet) as process:
        try:
            wait(lambda: answers(port), "MLflow's server")
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.faults
def test_a_server_that_is_killed_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged) -> None:
    port = find_port()
    root = tmp_path / "server"
    root.mkdir()
    shutil.move("mlflow.db", root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with server(root, port):
        session = runs.open_run("train", (), Settings())
        log = session.__enter__()
        log({"loss": 1.0}, 1)
    for step in range(2, 50):
        log({"loss": 1.0}, step)
    log.checkpoint("step-49", 49, {"validation_loss": 0.5})
    assert logged().count("does not answer") == 1
    with server(root, port):
        log._box.end_pause()
        log({"loss": 1.0}, 50)
        session.__exit__(None, None, None)
        assert read_steps() == list(range(1, 51)) and read_run().info.status == "FINISHED"
        client, _ = store.connect()
        assert client.get_registered_model("openmedq").aliases == {"candidate": "1"}, "a source that a server accepts"
    assert left() == []


def test_a_full_disk_does_not_stop_a_stage(outage, logged) -> None:
    with runs.open_run("train", (), Settings()) as log:
        outage.is_on = True
        os.dup2(full := os.open("/dev/full", os.O_WRONLY), log._box._file.fileno())
        os.close(full)
        log.checkpoint("step-1", 1, {"loss": 0.5})
        log({"loss": 1.0}, 2)
    assert "No space left on device" in logged()
