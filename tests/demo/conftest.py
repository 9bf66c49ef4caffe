"""A finished run without a model, whose answers follow a rule."""

import json
import shutil
from pathlib import Path

import pytest

from openmedq import paths
from tests.stages.results import write_scores

SOURCES = {
    name: {"access": "open", "origin": origin, "rows": 17, "licences": {"CC0-1.0": 17}}
    for name, origin in (("open_vqa", "mirror"), ("open_text", "miniature"))
}


@pytest.fixture(scope="package")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_scores(patch, num_resamples=10, controls=[])
        shutil.copy(paths.CONF / "miniature.yaml", paths.PARAMS)
        paths.MODEL.mkdir()
        tree = {"policy": "any", "sources": SOURCES, "base_weights": {}}
        (paths.MODEL / "training_data.json").write_text(json.dumps(tree), encoding="utf-8")
    return root


@pytest.fixture
def finished(_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has the run; tests do not write to it."""
    monkeypatch.chdir(_run)
