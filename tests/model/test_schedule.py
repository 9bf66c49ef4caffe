import math

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from openmedq.config import Transfer
from openmedq.evaluation import classifier
from openmedq.evaluation.towers import own
from openmedq.training.optimizer import scale
from tests.model import tiny


def test_it_rises_linearly_and_falls_as_half_a_cosine_to_zero() -> None:
    scales = [scale(update, 4, 12) for update in range(13)]
    assert scales[:4] == [0.25, 0.5, 0.75, 1.0]
    assert scales[4:] == pytest.approx([(1 + math.cos(math.pi * eighth / 8)) / 2 for eighth in range(9)])


@pytest.mark.parametrize(("num_warmup", "expected"), [(0, [1, 0.75, 0.25]), (1, [1, 1, 0.5]), (3, [1 / 3, 2 / 3, 1])])
def test_a_short_training(num_warmup: int, expected: list[float]) -> None:
    assert [scale(update, num_warmup, 3) for update in range(3)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("num_epochs", "expected"),
    [(10, [0.5, *(scale(update, 2, 20) for update in range(1, 20))]), (1, [1, 1]), (2, [1, 1, 0.75, 0.25])],
)
def test_a_classifier_warms_up_for_a_tenth_and_at_least_one_update(num_epochs: int, expected: list[float]) -> None:
    rates: list[float] = []
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, tiny.SIDE_PX, tiny.SIDE_PX), np.uint8))
    settings = Transfer(benchmarks=("any",), num_epochs=num_epochs, batch_size=2, lr=1e-3)
    tower = own.draw(tiny.make_settings().vision, 0)
    drawn = [np.array([0, 1]), np.array([2, 3]), np.array([0])]  # two updates and a validation
    batches = ((rows, pixels[rows]) for rows in drawn * num_epochs)
    plan = classifier.Plan(batches, num_epochs, num_updates=2, num_validations=1, fitted=np.arange(4))
    recorder = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    targets = torch.tensor([0, 1, 0, 1])
    try:
        classifier.fine_tune(tower, plan, targets, 2, settings, 0, lambda _: None)
    finally:
        recorder.remove()
    assert rates == pytest.approx([1e-3 * share for share in expected])
