"""`kill -9` and SIGTERM of a training at many moments: what follows is what an undisturbed training gives."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from openmedq import paths
from openmedq.training.train import LOSSES, METRICS
from tests.processes import find_stages, open_forks, wait
from tests.stages import stopping
from tests.stages.test_resume import (
    NUM_UPDATES,
    check_one_run,
    read_outputs,
    read_runs,
    undisturbed,
    write_params,
    write_project,
)

__all__ = ["undisturbed"]

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.usefixtures("torch_on_one_thread"),
    pytest.mark.xdist_group("train"),
]

EPOCH_UPDATES = 5
STAGE = {
    "cmd": "python -m openmedq train",
    "deps": ["data/mix"],
    "params": ["train"],
    "outs": ["data/model", "data/training/loss.csv"],
    "metrics": ["data/training/metrics.json"],
}


Start = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Runs `openmedq train` in a folder, until `stop`; returns its status and what it said."""
    with open_forks(tmp_path_factory.mktemp("forks"), "openmedq.training.train", "openmedq.tracking.runs") as run:
        yield lambda folder, stop="never:-1": run(("train",), folder, stopping.environment(folder, stop))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project()
    stopping.write_hook(tmp_path)
    return tmp_path


def kill(start: Start, folder: Path, stop: str) -> None:
    status, said = start(folder, stop)
    assert status == -signal.SIGKILL, said
    assert not paths.MODEL.exists()


def finish(start: Start, folder: Path, expected: dict[str, bytes]) -> None:
    status, said = start(folder)
    assert status == 0, said
    assert read_outputs() == expected
    check_one_run()
    assert [path.name for path in paths.CHECKPOINTS.glob("*/update-*")] == [f"update-{NUM_UPDATES:08}"]


@pytest.fixture(scope="module")
def rows(start: Start, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[int]]:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("rows")
        patch.chdir(root)
        write_project()
        stopping.write_hook(root)
        assert start(root)[0] == 0
        return stopping.read_rows(root)


@pytest.mark.timeout(900)
def test_ten_kills_at_random_updates_with_other_numbers_of_processes(
    start: Start, folder: Path, undisturbed: dict[str, bytes], rows: dict[int, list[int]]
) -> None:
    stops = sorted(random.Random(0).sample(range(1, NUM_UPDATES), 10))
    for place, stop in enumerate(stops):
        write_params(workers=(2, 1, 4)[place % 3])  # 1: none besides the training
        kill(start, folder, f"update:{stop}")
    finish(start, folder, undisturbed)
    assert stopping.read_rows(folder) == rows


def test_kills_at_an_epochs_end_in_an_accumulation_in_a_checkpoint_and_before_the_model(
    start: Start, folder: Path, undisturbed: dict[str, bytes], rows: dict[int, list[int]]
) -> None:
    write_params(checkpoint_minutes=30)  # at the end of an epoch only
    kill(start, folder, f"update:{EPOCH_UPDATES}")
    assert list(paths.CHECKPOINTS.glob("*/update-*"))
    kill(start, folder, f"micro:{EPOCH_UPDATES + 2}")
    kill(start, folder, f"save:{NUM_UPDATES - 1}")
    assert list(paths.PARTIAL.glob("data-checkpoints-*-new/*"))
    kill(start, folder, "publish:0")
    assert [path.name for path in sorted(paths.CHECKPOINTS.glob("*/update-*"))][-1] == f"update-{NUM_UPDATES:08}"
    (folder / "ids.jsonl").rename(folder / "before.jsonl")
    finish(start, folder, undisturbed)
    assert not (folder / "ids.jsonl").exists(), "no update is left"
    (folder / "before.jsonl").rename(folder / "ids.jsonl")
    assert stopping.read_rows(folder) == rows


def read_numbers() -> list[float]:
    return [float(value) for line in LOSSES.read_text().splitlines()[1:] for value in line.split(",") if value]


def test_one_process_then_two(
    start: Start, folder: Path, undisturbed: dict[str, bytes], rows: dict[int, list[int]]
) -> None:
    kill(start, folder, "update:4")
    assert stopping.read_rows(folder) == {number: rows[number] for number in range(4)}
    (folder / "ids.jsonl").unlink()
    write_params(devices=2)
    status, said = start(folder)
    assert status == 0, said
    shown: dict[int, list[int]] = {}
    for line in (folder / "ids.jsonl").read_text().splitlines():
        number, listed = json.loads(line)
        shown.setdefault(number, []).extend(listed)
    assert {number: sorted(listed) for number, listed in shown.items()} == {
        number: rows[number] for number in range(4, NUM_UPDATES)
    }
    epoch = sorted(row for number in range(EPOCH_UPDATES) for row in rows[number])
    assert len(set(epoch)) >= len(epoch) - 8, "of an epoch and the start of the next one"
    found = read_numbers()
    LOSSES.write_bytes(undisturbed[str(LOSSES)])
    assert found == pytest.approx(read_numbers(), rel=2e-2), "dropout and gray images differ by process"
    counts = json.loads(METRICS.read_text())
    assert counts["num_samples"] == json.loads(undisturbed[str(METRICS)])["num_samples"]
    check_one_run()


def test_sigterm_of_two_processes(start: Start, folder: Path) -> None:
    write_params(devices=2, checkpoint_minutes=30)
    status, said = start(folder, "term:3")
    assert status == 143, said
    assert "Traceback" not in said
    assert [path.name for path in paths.CHECKPOINTS.glob("*/update-*")] == ["update-00000004"], said
    (run,) = read_runs()
    assert run.info.status == "KILLED" and run.data.tags["stage.train.reason"] == "the process was asked to stop"
    status, said = start(folder)
    assert status == 0, said
    check_one_run()


@pytest.fixture
def dvc(folder: Path) -> Path:
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": STAGE}}))
    Path(".gitignore").write_text("/data\n/hook\n")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    Path(".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    return folder


def repro(folder: Path, stop: str = "never:-1") -> Any:
    environment = {**stopping.environment(folder, stop), "SHELL": "/bin/sh"}
    with (folder / "repro.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro"],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@pytest.mark.parametrize("stop", ["update:7", "group:7"])
def test_dvc_repro_resumes(stop: str, dvc: Path, undisturbed: dict[str, bytes]) -> None:
    """SIGTERM of the process group ends dvc at once, and the training after its checkpoint."""
    write_params(checkpoint_minutes=30 if stop == "group:7" else 1e-9)
    assert repro(dvc, stop).wait(120) != 0
    if stop == "group:7":
        wait(lambda: any(paths.CHECKPOINTS.glob("*/update-00000008")), "the checkpoint")
        wait(lambda: not find_stages("train", dvc), "the training is gone")  # without a look at MLflow's locked tables
        assert read_runs()[0].info.status == "KILLED", (dvc / "repro.log").read_text()
    assert not paths.MODEL.exists()
    second = repro(dvc)
    assert second.wait(240) == 0, (dvc / "repro.log").read_text()
    assert read_outputs() == undisturbed
    check_one_run()
