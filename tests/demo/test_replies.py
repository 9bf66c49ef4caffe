"""The model's answers are those of the evaluation, and so are the probabilities of the options."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from openmedq import paths
from openmedq.demo.replies import Model
from openmedq.evaluation.generate import make_answerer
from openmedq.evaluation.likelihood import Scorer
from openmedq.model import model as models
from openmedq.schema import Sample, Task, Turn
from tests.model import tiny
from tests.model.test_language import publish

CHOICE = tiny.make_sample(Task.MULTIPLE_CHOICE, Turn("Which organ?", "heart", options=("lung", "heart")))
CLOSED = tiny.make_sample(Task.VQA, Turn("Is it large?", "no"))
OPEN = tiny.make_sample()


@pytest.fixture(scope="module", params=["random", "published"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model")
    changes: dict[str, Any] = {}
    if request.param == "published":
        (root / "llama").mkdir()
        changes = {"language": {"weights": str(publish(root / "llama"))}, "max_tokens": 200}
    return tiny.save_model(root / "model", **changes)


@pytest.fixture
def model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setattr(paths, "MODEL", folder)
    return Model("cpu", 6)


def test_the_answers_are_those_of_the_evaluation(folder: Path, model: Model) -> None:
    answerer = make_answerer(*models.load(folder), max_new_tokens=6, batch_size=2)
    for sample in (OPEN, CHOICE, CLOSED):
        own, blind = (reply.answer for reply in model.ask(sample))
        (expected,) = answerer([sample])
        assert own._replace(probability=0) == expected._replace(probability=0)
        assert own.probability == pytest.approx(expected.probability, rel=1e-4)
        assert blind.probability != pytest.approx(own.probability, rel=1e-4, abs=0), "the gray image changes nothing"


def _measure(folder: Path, sample: Sample, answers: list[str]) -> list[float]:
    scorer = Scorer(folder, torch.device("cpu"), 1)
    (found,) = scorer.score([scorer.encode(sample, answers)], scorer.read_images([sample]))
    return np.exp(found.log_probs).tolist()


def test_shares_of_the_options(folder: Path, model: Model) -> None:
    own, blind = model.ask(CHOICE)
    probabilities = _measure(folder, CHOICE, ["lung", "heart"])
    assert own.total == pytest.approx(sum(probabilities), rel=1e-4)
    assert list(own.shares) == ["lung", "heart"]
    assert own.shares["lung"] == pytest.approx(probabilities[0] / sum(probabilities), rel=1e-4)
    assert blind.shares != pytest.approx(own.shares, rel=1e-4)


def test_spellings_of_yes_and_no_are_added(folder: Path, model: Model) -> None:
    own, _ = model.ask(CLOSED)
    probabilities = _measure(folder, CLOSED, ["yes", "Yes", "no", "No"])
    assert own.total == pytest.approx(sum(probabilities), rel=1e-4)
    assert own.shares == pytest.approx(
        {"yes": sum(probabilities[:2]) / own.total, "no": sum(probabilities[2:]) / own.total}
    )


def test_an_open_question_has_no_options(model: Model) -> None:
    assert [reply.shares for reply in model.ask(OPEN)] == [{}, {}]


def test_an_own_question_that_is_answered_by_yes_or_no_has_both(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = replace(OPEN, turns=(Turn("Is it large?", ""),), images=())
    (before,) = model.ask(sample)
    assert not before.shares
    monkeypatch.setattr(model, "_answer", lambda samples: [before.answer._replace(text="No.") for _ in samples])
    (reply,) = model.ask(sample)
    assert list(reply.shares) == ["yes", "no"] and sum(reply.shares.values()) == pytest.approx(1)
