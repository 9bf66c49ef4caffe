"""Bootstrap confidence intervals, clustered: what is drawn again is the picture with all its questions, not the row.

Questions on one picture are right or wrong together; drawing them one by one would promise too narrow an interval.
Every score here is a function of sums over rows (matches and lengths, or hits and counts), so that one matrix product
gives a thousand resamples of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Score = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # (..., K) sums of statistics -> (...) scores

_CHUNK_SIZE = 4_000_000  # draws held at once: 32 MB


@dataclass(frozen=True, slots=True)
class Interval:
    """A score and its percentile interval; without bounds where there are fewer than two groups to draw from."""

    value: float
    low: float | None
    high: float | None

    def as_metrics(self, name: str) -> dict[str, float]:
        """`{name, name_low, name_high}`, plain numbers, as `dvc metrics` wants them."""
        metrics = {name: self.value}
        if self.low is not None and self.high is not None:
            metrics |= {f"{name}_low": self.low, f"{name}_high": self.high}
        return metrics


def bootstrap(
    statistics: NDArray[np.float64],
    groups: Sequence[str],
    scores: Mapping[str, Score],
    *,
    num_resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Interval]:
    """Percentile intervals of `scores`, each a function of the sums of `statistics` (rows, K) over a resample.

    As many groups as there are, drawn with replacement; the same seed gives the same interval, in whatever order
    the rows come.

    Raises:
        ValueError: no rows, or not one group a row.
    """
    if len(statistics) == 0 or len(statistics) != len(groups):
        raise ValueError(f"{len(statistics)} rows and {len(groups)} groups: as many of both, and at least one")
    sums = _sum_by_group(statistics, groups)  # (G, K)
    values = {name: float(score(sums.sum(axis=0))) for name, score in scores.items()}
    if len(sums) < 2:
        return {name: Interval(value, None, None) for name, value in values.items()}
    resampled = _resample(sums, num_resamples, np.random.default_rng(seed))  # (num_resamples, K)
    tail = 50 * (1 - confidence)
    intervals = {}
    for name, score in scores.items():
        low, high = np.percentile(score(resampled), [tail, 100 - tail])
        intervals[name] = Interval(values[name], float(low), float(high))
    return intervals


def _sum_by_group(statistics: NDArray[np.float64], groups: Sequence[str]) -> NDArray[np.float64]:
    names, membership = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    sums = np.zeros((len(names), statistics.shape[1]))
    np.add.at(sums, membership, statistics)
    return sums


def _resample(sums: NDArray[np.float64], num_resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(num_resamples, K): sums over as many groups as there are, drawn with replacement."""
    num_groups = len(sums)
    chunk = max(1, _CHUNK_SIZE // num_groups)
    parts = []
    for start in range(0, num_resamples, chunk):
        num_rows = min(chunk, num_resamples - start)
        drawn = rng.integers(num_groups, size=(num_rows, num_groups))
        drawn += num_groups * np.arange(num_rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=num_rows * num_groups).reshape(num_rows, num_groups)
        parts.append(times @ sums)
    return np.concatenate(parts)
