"""`openmedq train` that is killed or asked to stop, and run again: the outputs are those of an undisturbed training.

tests/faults/test_train.py kills it at other moments.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import get_worker_info

from openmedq import paths
from openmedq.cli import main
from openmedq.config.render import render
from openmedq.tracking import store
from openmedq.training.data import EncodedRows
from openmedq.training.trainer import Trainer
from tests.stages import stopping
from tests.stages.results import write_learning, write_run
from tests.stages.test_train import params
from tests.tracking.conftest import read_runs

pytestmark = [pytest.mark.usefixtures("torch_on_one_thread"), pytest.mark.xdist_group("resume")]

NUM_UPDATES = 12  # of 8 of about 40 rows
SETTINGS = {
    "max_steps": NUM_UPDATES,
    "micro_batch_size": 2,
    "blank_share": 0.3,
    "lora": {"dropout": 0.1},
    "validate_every": 5,
    "validate_rows": 4,
}


def write_params(workers: int = 1, devices: int = 1, **changes: Any) -> None:
    settings = params(workers, **SETTINGS | {"checkpoint_minutes": 1e-9} | changes)
    execution = settings.execution.model_copy(update={"devices": devices})
    paths.PARAMS.write_text(render(settings.model_copy(update={"execution": execution})), encoding="utf-8")


def write_project() -> None:
    write_run(mix={"roles": {"open_vqa": {"test": "validation"}}})
    write_learning()
    shutil.rmtree(paths.TRAINING)
    write_params()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project()
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("undisturbed"))
        write_project()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            assert main(["train"]) == 0
        finally:
            torch.set_num_threads(threads)
        return read_outputs()


def read_outputs() -> dict[str, bytes]:
    files = [path for folder in (paths.MODEL, paths.TRAINING) for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in sorted(files)}


def check_one_run() -> None:
    """The training had one run, which has each update once."""
    (run,) = read_runs()
    assert run.info.status == "FINISHED" and int(run.data.tags["resumed"]) >= 1
    client, _ = store.connect()
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/lr")]
    assert steps == list(range(1, NUM_UPDATES + 1))
    assert not list((paths.PARTIAL / "runs").iterdir())


def test_kill_9(folder: Path, undisturbed: dict[str, bytes]) -> None:
    stopping.write_hook(folder)
    command = [sys.executable, "-m", "openmedq", "train"]
    done = subprocess.run(command, env=stopping.environment(folder, "update:7"), capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not paths.MODEL.exists() and paths.CHECKPOINTS.exists()
    assert main(["train"]) == 0
    assert read_outputs() == undisturbed
    check_one_run()


def stop_once(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, number: int) -> None:
    """Ask this process to stop in call `number` of a method."""
    original, count = getattr(where, name), [0]

    def stop(*arguments: Any) -> Any:
        count[0] += 1
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(where, name, stop)


@pytest.mark.parametrize(("name", "number", "done"), [("_update", 6, 6), ("_end_validation", 3, 12)])
def test_sigterm_saves_a_checkpoint(
    name: str, number: int, done: int, folder: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_params(checkpoint_minutes=30)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as raised:
        stop_once(patch, Trainer, name, number)
        main(["train"])
    assert raised.value.code == 143
    assert sorted(paths.CHECKPOINTS.glob("*/update-*"))[-1].name == f"update-{done:08}"
    (run,) = read_runs()
    assert run.info.status == "KILLED" and run.data.tags["stage.train.reason"] == "the process was asked to stop"
    assert not paths.MODEL.exists()
    assert main(["train"]) == 0
    assert read_outputs() == undisturbed
    if done < NUM_UPDATES:
        check_one_run()


def test_sigterm_of_the_loader_processes_too_saves_a_checkpoint(
    folder: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Slurm sends it: to all processes of a job. The training waits for data meanwhile."""
    write_params(workers=2)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as raised:
        patch.setattr(
            EncodedRows,
            "__getstate__",
            lambda self: {**self.__dict__, "_samples": Terminator(self._samples, os.getpid())},
            raising=False,
        )
        main(["train"])
    assert raised.value.code == 143 and read_runs()[0].info.status == "KILLED"
    assert list(paths.CHECKPOINTS.glob("*/update-*")) and not paths.MODEL.exists()
    assert main(["train"]) == 0
    assert read_outputs() == undisturbed


class Terminator:
    def __init__(self, samples: Any, training_id: int) -> None:
        self.samples, self.training_id, self.num_read = samples, training_id, 0

    def __getitem__(self, number: int) -> Any:
        self.num_read += 1
        # Of one process only: on a busy machine, a second signal could come when the training has ended.
        if self.num_read == 20 and get_worker_info().id == 0:
            time.sleep(1)  # the training takes what the other process has read
            os.kill(self.training_id, signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        return self.samples[number]


def test_a_full_disk_at_the_end_costs_no_update(
    folder: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    paths.MODEL.mkdir()
    (paths.MODEL / "config.json").write_text("the last good one")
    with monkeypatch.context() as patch:
        patch.setattr("openmedq.model.saving._write_merged", fail)
        assert main(["train"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: data/model: no space left on the disk of data (")
    assert (paths.MODEL / "config.json").read_text() == "the last good one" and not paths.TRAINING.exists()
    monkeypatch.setattr(Trainer, "_update", None)
    for _ in range(2):  # the second time because DVC was killed, or found the disk full, before it recorded the model
        shutil.rmtree(paths.MODEL)
        shutil.rmtree(paths.TRAINING, ignore_errors=True)
        assert main(["train"]) == 0
        assert read_outputs() == undisturbed
    assert len(read_runs()) == len(store.connect()[0].search_model_versions("name = 'openmedq'")) == 1
    monkeypatch.setattr("openmedq.reporting.report.run", lambda *_: None)
    assert main(["report"]) == 0 and not any(paths.CHECKPOINTS.iterdir())  # the outputs are there


def test_a_loader_process_that_is_killed_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_params(workers=2)
    monkeypatch.setattr(
        EncodedRows, "__getstate__", lambda self: {**self.__dict__, "_samples": Killer()}, raising=False
    )
    assert main(["train"]) == 1
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: a loader process was killed") and "Traceback" not in said


class Killer:
    def __getitem__(self, number: int) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)
