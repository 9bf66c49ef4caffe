"""The command line by hand, in a project where nothing was made yet: one line that says what to do, nothing written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from openmedq.__main__ import NEEDED, STAGES, TRACKED_STAGES, main

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("params.yaml", "dvc.lock", "data/catalogue.yaml", "data/forgotten.yaml"):
        shutil.copy(ROOT / name, name)


@pytest.mark.parametrize("stage", [stage for stage in STAGES | TRACKED_STAGES if stage != "locate"])
def test_a_stage_before_its_time_says_what_is_missing(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([stage]) == 1
    out, error = capsys.readouterr()
    assert error.startswith("error: data/") and error.count("\n") == 1 and "`dvc repro" in error
    assert not out and not Path("mlflow.db").exists(), "no run of a stage that could not begin"
    assert sorted(path.name for path in Path("data").iterdir() if path.name != ".partial") == [
        "catalogue.yaml",
        "forgotten.yaml",
    ]


def test_each_learning_stage_says_what_it_needs() -> None:
    assert TRACKED_STAGES.keys() <= NEEDED.keys()


def test_the_folder_of_sources_belongs_to_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sources", "--mirror", "somewhere"]) == 1
    assert "with --markdown only" in capsys.readouterr().err
    assert main(["sources", "--markdown", "--mirror", "nowhere"]) == 1
    assert capsys.readouterr().err.startswith("error: nowhere: No such file or directory")
