"""The learning rate: up in a line, down in a cosine, and what becomes of it where there is little to warm up."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from openmedq.config import Transfer
from openmedq.evaluation import classifier
from openmedq.model import encoders
from openmedq.training.schedule import scale
from tests.model import tiny


def _scales(num_warmup: int, num_updates: int) -> list[float]:
    return [scale(update, num_warmup, num_updates) for update in range(num_updates)]


def test_it_rises_in_a_line_to_the_full_rate() -> None:
    assert _scales(4, 12)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_it_falls_in_half_a_cosine_that_would_end_at_zero() -> None:
    falling = [scale(update, 4, 12) for update in range(4, 13)]
    assert falling == pytest.approx([(1 + math.cos(math.pi * eighth / 8)) / 2 for eighth in range(9)])
    assert falling[4] == pytest.approx(0.5)
    assert falling[-1] == pytest.approx(0, abs=1e-12)
    assert all(later < earlier for earlier, later in pairwise(falling))


def test_without_warm_up_it_begins_at_the_full_rate_and_falls_at_once() -> None:
    assert _scales(0, 3) == pytest.approx([1, 0.75, 0.25])
    assert _scales(1, 3) == pytest.approx([1, 1, 0.5])


@pytest.mark.parametrize(("num_warmup", "num_updates"), [(0, 1), (1, 1), (2, 2)])
def test_it_stays_at_full_rate_where_nothing_is_left_to_fall(num_warmup: int, num_updates: int) -> None:
    assert _scales(num_warmup, num_updates)[-1] == 1
    assert scale(num_updates, num_warmup, num_updates) == pytest.approx(0 if num_warmup < num_updates else 1)


@pytest.mark.parametrize(
    ("num_epochs", "expected"),
    [(10, [0.5, *(scale(update, 2, 20) for update in range(1, 20))]), (1, [1, 1]), (2, [1, 1, 0.75, 0.25])],
)
def test_a_classifier_warms_up_for_a_tenth_and_for_one_update_at_least(num_epochs: int, expected: list[float]) -> None:
    rates: list[float] = []
    pixels = torch.from_numpy(np.random.default_rng(0).random((4, 3, tiny.SIDE_PX, tiny.SIDE_PX), np.float32))
    dials = Transfer(benchmarks=("any",), num_epochs=num_epochs, batch_size=2, lr=1e-3)
    encoder = encoders.build(tiny.make_settings().vision)
    recorder = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    try:
        classifier.fine_tune(
            encoder, lambda rows: pixels[rows], torch.tensor([0, 1, 0, 1]), 2, dials, 0, lambda _: None
        )
    finally:
        recorder.remove()
    assert rates == pytest.approx([1e-3 * share for share in expected])
