"""The sampler: how often rows are drawn, in what order, and in how many updates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmedq.training.sampler import count_updates, draw_epoch, draw_updates


@given(st.lists(st.floats(0, 4, width=32), min_size=1, max_size=30), st.integers(0, 5))
def test_a_row_is_drawn_as_often_as_its_weight(weights: list[float], epoch: int) -> None:
    times = np.bincount(draw_epoch(np.array(weights, np.float32), 3, epoch), minlength=len(weights))
    assert (np.floor(weights) <= times).all()
    assert (times <= np.ceil(weights)).all()


def test_fractions_hold_on_average() -> None:
    weights = np.array([0.25, 1.0, 2.5], np.float32)
    epochs = [draw_epoch(weights, 0, epoch) for epoch in range(2000)]
    times = np.bincount(np.concatenate(epochs)) / len(epochs)
    np.testing.assert_allclose(times, weights, atol=0.05)


def test_the_order_depends_on_seed_and_epoch_only() -> None:
    weights = np.ones(50, np.float32)
    assert draw_epoch(weights, 1, 0).tolist() == draw_epoch(weights, 1, 0).tolist()
    assert draw_epoch(weights, 1, 0).tolist() != draw_epoch(weights, 2, 0).tolist()
    assert draw_epoch(weights, 1, 0).tolist() != draw_epoch(weights, 1, 1).tolist()


def test_updates_are_full_and_epochs_whole() -> None:
    updates = list(draw_updates(np.ones(10, np.float32), 0, 5, 4))
    assert [len(update) for update in updates] == [4] * 5
    assert sorted(np.concatenate(updates).tolist()) == sorted([*range(10)] * 2)


@pytest.mark.parametrize(
    ("num_epochs", "max_updates", "expected"), [(1, None, 3), (2, None, 5), (2, 4, 4), (0.01, None, 1), (2, 9, 5)]
)
def test_the_number_of_updates(num_epochs: float, max_updates: int | None, expected: int) -> None:
    assert count_updates(np.full(20, 0.5, np.float32), num_epochs, 4, max_updates) == expected
