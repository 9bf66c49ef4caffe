import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from openmedq import paths
from openmedq.cli import main
from openmedq.config import Params
from openmedq.config.render import render
from openmedq.evaluation import transfer
from openmedq.storage import timing
from openmedq.storage.progress import Log
from openmedq.tracking import store
from openmedq.training import launch
from tests.stages.results import write_learning, write_run
from tests.stages.test_train import params

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run()


def write_project(**changes: Any) -> None:
    paths.PARAMS.write_text(render(params(**changes)), encoding="utf-8")
    write_learning()
    shutil.rmtree(paths.TRAINING)


def test_a_training_that_fails_is_one_line_and_a_failed_run(capsys: pytest.CaptureFixture[str]) -> None:
    write_project(lr=1e30, max_steps=1)
    assert main(["train"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "update 1: " in line and "lower train.lr (1e+30)" in line
    client, experiment_id = store.connect()
    (trained,) = client.search_runs([experiment_id])
    assert trained.info.status == "FAILED" and "md5.model" not in trained.data.tags
    attempt = json.loads((paths.TIMINGS / "train.json").read_text(encoding="utf-8"))
    assert (attempt["output"], attempt["device"], attempt["num_devices"]) == (None, "CPU", 1)


def test_a_stage_of_several_devices_starts_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    write_project()
    paths.PARAMS.write_text(paths.PARAMS.read_text(encoding="utf-8").replace("devices: auto", "devices: 2"))
    paths.MODEL.mkdir()
    monkeypatch.setattr(launch, "launch", lambda stage, num: {"train": 3, "evaluate": 4}[stage] + num)
    assert [main([stage]) for stage in ("train", "evaluate")] == [5, 6]


@pytest.mark.parametrize(("rank", "is_timed"), [("0", True), ("1", False)])
def test_the_first_of_several_processes_records_the_time(
    rank: str, is_timed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = paths.TRANSFER / "scratch" / "metrics.json"

    def run(settings: Params, encoder: str, log: Log) -> None:
        output.write_text("{}", encoding="utf-8")

    write_project()
    monkeypatch.setattr(transfer, "run", run)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["transfer", "scratch"]) == 0
    found = timing.read("transfer-scratch", output)
    assert found.num_devices == 2 if is_timed else found is None
