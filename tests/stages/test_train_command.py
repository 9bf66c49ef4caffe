"""`openmedq train`: errors are one line, and the last model stays."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from openmedq import paths
from openmedq.cli import main
from openmedq.config.render import render
from openmedq.tracking import store
from tests.servers.small_disk import small_disk
from tests.stages.results import write_learning, write_run
from tests.stages.test_train import params

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run()


def write_project(**changes: Any) -> None:
    """Write the inputs of `python -m openmedq train`."""
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


@pytest.mark.faults
def test_a_full_disk_at_the_end_is_one_line_and_leaves_the_last_model() -> None:
    write_project(max_steps=1)
    paths.MODEL.mkdir()
    (paths.MODEL / "config.json").write_text("the last good one")
    saved = shutil.move("data", "saved")
    Path("data").mkdir()
    taken_bytes = sum(-(-path.stat().st_size // 4096) * 4096 for path in Path(saved).rglob("*") if path.is_file())
    # Weights 302 kB, file 309 kB: the first disk fails the check of its free space, the second fails while writing.
    for room_bytes, said in ((100_000, r"MB more are needed"), (307_200, r"\(0\.3 MB free\); free some")):
        with small_disk(Path("data"), taken_bytes + room_bytes) as disk:
            subprocess.run(disk.wrap(["cp", "-r", "saved/.", "data"]), check=True)
            command = disk.wrap([sys.executable, "-m", "openmedq", "train"])
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            kept = subprocess.run(disk.wrap(["cat", str(paths.MODEL / "config.json")]), capture_output=True, text=True)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert re.match(r"error: data/model: no space left on the disk of data \(", line) and re.search(said, line)
        assert kept.stdout == "the last good one"
