from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from openmedq.training.order import MAX_WINDOW_ROWS, NUM_LANES, WINDOW_GROUPS, Order, count_open_groups

GROUP_ROWS = 30


def make_order(num_rows: int = 12_000, batch_size: int = 64, weight: float = 1.0, **changes: Any) -> Order:
    return Order(
        **{
            "weights": np.full(num_rows, weight, np.float32),
            "groups": np.arange(num_rows) // GROUP_ROWS,
            "seed": 0,
            "batch_size": batch_size,
            **changes,
        }
    )


@pytest.mark.parametrize(("weight", "fewest", "most"), [(1, 1, 1), (3, 3, 3), (2.5, 2, 3), (0.25, 0, 1)])
@pytest.mark.parametrize("num_rows", [1, 7, 1000, 1003])
def test_an_epoch_visits_a_row_as_often_as_its_weight(weight: float, fewest: int, most: int, num_rows: int) -> None:
    order = make_order(num_rows, weight=weight)
    for epoch in range(3):
        times = np.bincount(order.draw(epoch), minlength=num_rows)
        assert fewest <= times.min()
        assert times.max() <= most
        assert times.sum() == order.count(epoch)


def test_a_fractional_weight_is_the_mean_over_epochs() -> None:
    order = make_order(50, weight=0.3)
    times = sum(np.bincount(order.draw(epoch), minlength=50) for epoch in range(1000))
    np.testing.assert_allclose(times, 300, atol=5 * np.sqrt(1000 * 0.3 * 0.7))


def test_the_order_follows_from_the_seed_and_the_epoch() -> None:
    order, other = make_order(), make_order(seed=1)
    assert order.draw(2).tolist() == make_order().draw(2).tolist()
    assert order.draw(2).tolist() != order.draw(3).tolist()
    assert order.draw(2).tolist() != other.draw(2).tolist()


@pytest.mark.parametrize("weight", [1, 0.7])
def test_updates_resume_where_they_stopped(weight: float) -> None:
    order = make_order(1003, batch_size=24, weight=weight)
    whole = list(order.updates(0, 130))
    for start in (0, 1, 41, 42, 43, 129):
        resumed = list(order.updates(start, 130))
        assert [update.update for update in resumed] == list(range(start, 130))
        for update, expected in zip(resumed, whole[start:], strict=True):
            assert update.rows.tolist() == expected.rows.tolist()
            assert (update.epoch, update.ends_epoch) == (expected.epoch, expected.ends_epoch)


def test_updates_are_the_epochs_one_after_the_other() -> None:
    order = make_order(1003, batch_size=24)
    rows = np.concatenate([update.rows for update in order.updates(0, 84)])
    epochs = np.concatenate([order.draw(epoch) for epoch in range(3)])
    assert rows.tolist() == epochs[: len(rows)].tolist()
    assert [job.update for job in order.updates(0, 84) if job.ends_epoch] == [40, 82]


def test_the_number_of_updates() -> None:
    assert make_order(100, batch_size=32).count_updates(2, None) == 7
    assert make_order(100, batch_size=32).count_updates(2, 5) == 5
    assert make_order(1, batch_size=32, weight=0.1).count_updates(1, None) == 1


@pytest.mark.parametrize("num_workers", [1, 2, 4, 8])
def test_a_row_group_is_read_once_or_twice_an_epoch(num_workers: int) -> None:
    """Each process keeps the row groups that `count_open_groups` allows, and drops the oldest."""
    order = make_order(48_000)
    num_reads = 0
    for worker in range(num_workers):
        kept: OrderedDict[int, None] = OrderedDict()
        for row in order.draw(0)[worker::num_workers].tolist():
            group = row // GROUP_ROWS
            num_reads += group not in kept
            kept[group] = None
            kept.move_to_end(group)
            while len(kept) > count_open_groups(num_workers):
                kept.popitem(last=False)
    assert num_reads <= 1.2 * 48_000 / GROUP_ROWS


def test_neighbors_are_apart_and_batches_mix_the_sources() -> None:
    order = make_order(48_000)
    rows = order.draw(0)
    places = np.argsort(rows)
    distance = np.abs(np.diff(places))[np.diff(order.groups) == 0]
    assert np.median(distance) > 5 * order.batch_size
    assert distance.max() <= 2 * NUM_LANES * min(MAX_WINDOW_ROWS, WINDOW_GROUPS * GROUP_ROWS)
    batches = rows[: len(rows) // 64 * 64].reshape(-1, 64)
    from_first_half = (batches < 24_000).mean(axis=1)
    assert np.std(from_first_half) < 0.1  # 0.0625 if all rows were independent
