"""A finished run: its scores are of answers by a rule, without a model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from openmedq.evaluation import evaluate
from openmedq.evaluation.generate import Answer
from openmedq.schema import Sample
from openmedq.storage.progress import NoLog
from tests.curate.corpus import make_params
from tests.stages.results import replace_model, reply, write_learning, write_run


@pytest.fixture(scope="session")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        replace_model(patch, answer_by_rule)
        write_run()
        evaluate.run(make_params(evaluate={"max_new_tokens": 4, "num_resamples": 50}), NoLog())
        write_learning()
    return root


@pytest.fixture
def finished(_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has the outputs of all stages before the report."""
    monkeypatch.chdir(shutil.copytree(_run, tmp_path / "run"))


def answer_by_rule(samples: Sequence[Sample]) -> Iterator[Answer]:
    """Right on closed questions, half right on open ones."""
    for sample in samples:
        reference = sample.turns[-1].answer
        yield reply(reference if reference in ("yes", "no") else f"{reference.split()[0]} corner")
