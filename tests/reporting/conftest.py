"""A finished run: its scores are of answers by a rule, without a model."""

import shutil
from pathlib import Path

import pytest

from tests.stages.results import write_learning, write_scores


@pytest.fixture(scope="session")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_scores(patch)
        write_learning()
    return root


@pytest.fixture
def finished(_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has the outputs of all stages before the report."""
    monkeypatch.chdir(shutil.copytree(_run, tmp_path / "run"))
