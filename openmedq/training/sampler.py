"""The sampler: rows of each epoch and update, determined by weights and seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def draw_epoch(weights: NDArray[np.float32], seed: int, epoch: int) -> NDArray[np.int64]:
    """Return row numbers in random order: weight 1 is once, 2.5 twice or three times, 0.1 once in ten epochs."""
    random = np.random.default_rng([seed, epoch])
    whole = np.floor(weights).astype(np.int64)
    times = whole + (random.random(len(weights)) < weights - whole)
    rows = np.repeat(np.arange(len(weights)), times)
    random.shuffle(rows)
    return rows


def draw_updates(
    weights: NDArray[np.float32], seed: int, num_updates: int, batch_size: int
) -> Iterator[NDArray[np.int64]]:
    """Yield `batch_size` rows per update; an update may span two epochs."""
    waiting = np.zeros(0, np.int64)
    epoch = 0
    for _ in range(num_updates):
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, draw_epoch(weights, seed, epoch)])
            epoch += 1
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def count_updates(weights: NDArray[np.float32], num_epochs: float, batch_size: int, max_updates: int | None) -> int:
    """Return the number of updates of the training, at least 1."""
    planned = int(np.ceil(float(weights.sum(dtype=np.float64)) * num_epochs / batch_size))
    return max(1, planned if max_updates is None else min(planned, max_updates))
