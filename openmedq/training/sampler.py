"""Which rows an epoch visits, and in what order: a function of weights and seed alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def draw_epoch(weights: NDArray[np.float32], seed: int, epoch: int) -> NDArray[np.int64]:
    """Row numbers in the order of their visits: weight 1 is one visit, 2.5 is two or three, 0.1 one epoch in ten."""
    random = np.random.default_rng([seed, epoch])
    whole = np.floor(weights).astype(np.int64)
    times = whole + (random.random(len(weights)) < weights - whole)
    rows = np.repeat(np.arange(len(weights)), times)
    random.shuffle(rows)
    return rows


def draw_updates(
    weights: NDArray[np.float32], seed: int, num_updates: int, batch_size: int
) -> Iterator[NDArray[np.int64]]:
    """The rows of each update, `batch_size` of them; an epoch's end falls wherever it falls."""
    waiting = np.zeros(0, np.int64)
    epoch = 0
    for _ in range(num_updates):
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, draw_epoch(weights, seed, epoch)])
            epoch += 1
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def count_updates(weights: NDArray[np.float32], num_epochs: float, batch_size: int, max_updates: int | None) -> int:
    """Updates of the whole training; at least one."""
    planned = int(np.ceil(float(weights.sum(dtype=np.float64)) * num_epochs / batch_size))
    return max(1, planned if max_updates is None else min(planned, max_updates))
