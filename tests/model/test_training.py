"""The updates: weight decay and gradient clipping."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from openmedq.training import trainer
from openmedq.training.data import EncodedSamples
from openmedq.training.learner import Learner

from . import tiny

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")

ADAM_EPSILON = 1e-8  # of torch.optim.AdamW


@pytest.fixture
def dataset(processor: Any) -> EncodedSamples:
    return EncodedSamples(tiny.SAMPLES, processor, tiny.NUM_PATCHES, 96)


def train(model: torch.nn.Module, dataset: EncodedSamples, **changes: Any) -> tuple[dict[str, Tensor], list[float]]:
    """The change of each trained weight, and the learning rates of the updates."""
    settings = tiny.make_settings(batch_size=6, micro_batch_size=6, **changes)
    rates: list[float] = []
    before = _copy(model)
    weights = np.ones(len(dataset), np.float32)
    accelerator = trainer.start(settings, "cpu")
    trainer.train(model, dataset, weights, settings, accelerator, 0, lambda values, _: rates.append(values["lr"]))
    return {name: weight - before[name] for name, weight in _copy(model).items()}, rates


def _copy(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def test_matrices_decay_and_vectors_do_not(
    model: torch.nn.Module, dataset: EncodedSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Learner.forward

    def multiply_by_zero(*arguments: Any, **options: Any) -> Any:
        """A loss with zero gradient: only the decay changes the weights."""
        found = forward(*arguments, **options)
        return found._replace(next_token=found.next_token * 0)

    monkeypatch.setattr(Learner, "forward", multiply_by_zero)
    tiny.shake(model)
    before = _copy(model)
    moved, rates = train(model, dataset, weight_decay=0.3, max_steps=4)
    kept = math.prod(1 - 0.3 * rate for rate in rates)
    assert {weight.ndim for weight in moved.values()} >= {1, 2}
    for name, weight in moved.items():
        torch.testing.assert_close(weight, before[name] * (kept - 1 if weight.ndim > 1 else 0), msg=name)


def test_the_norm_of_the_gradient_is_clipped(model: torch.nn.Module, dataset: EncodedSamples) -> None:
    # If the gradient is far below Adam's epsilon, the first update is lr * gradient / epsilon.
    moved, rates = train(model, dataset, max_grad_norm=1e-10, weight_decay=0, lr=1, warmup=0, max_steps=1)
    assert rates == [1]
    norm = torch.cat([weight.flatten() for weight in moved.values()]).norm().item()
    assert norm == pytest.approx(1e-10 / ADAM_EPSILON, rel=0.02)
