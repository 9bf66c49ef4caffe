"""A finished run without a model, whose answers follow a rule."""

import json
import shutil
from pathlib import Path

import pytest

from openmedq import paths
from openmedq.evaluation import evaluate
from openmedq.storage.progress import NoLog
from tests.curate.corpus import make_params
from tests.reporting.conftest import answer_by_rule
from tests.stages.results import replace_model, write_run

SOURCES = {"open_vqa": {"access": "open", "origin": "mirror", "rows": 17, "licences": {"CC0-1.0": 17}}}


@pytest.fixture(scope="package")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        replace_model(patch, answer_by_rule)
        write_run()
        evaluate.run(make_params(evaluate={"max_new_tokens": 4, "num_resamples": 10, "controls": []}), NoLog())
        shutil.copy(paths.CONF / "miniature.yaml", paths.PARAMS)
        paths.MODEL.mkdir()
        tree = {"policy": "any", "sources": SOURCES, "base_weights": {}}
        (paths.MODEL / "training_data.json").write_text(json.dumps(tree), encoding="utf-8")
    return root


@pytest.fixture
def finished(_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has the run; tests do not write to it."""
    monkeypatch.chdir(_run)
