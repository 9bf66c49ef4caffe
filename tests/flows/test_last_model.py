"""DVC removes the outputs of a stage before it runs it: what becomes of the last model where a training fails."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path


def test_the_last_model_comes_back_out_of_dvcs_cache(
    toy: Path, dvc: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert dvc("repro", "-q", "train").returncode == 0
    model = {path.name: path.read_bytes() for path in (toy / "data/model").iterdir()}
    (toy / "fail-train").write_text("1 1 error: update 3: the loss is nan")
    assert dvc("repro", "-q", "--force", "--single-item", "train").returncode != 0
    done = dvc("checkout", "train")
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in (toy / "data/model").iterdir()} == model
