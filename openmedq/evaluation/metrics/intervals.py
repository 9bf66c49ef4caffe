"""Bootstrap confidence intervals, clustered: images are drawn with all their questions, not single rows.

Questions about one image are answered right or wrong together; drawing them one by one would give too narrow an
interval. Every score is a function of sums over rows. The sums of all resamples are one matrix product: how often each
resample draws each image, times the sums of each image. It is computed in blocks, so that memory is bounded.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from openmedq.evaluation.metrics.metric import Metric, Numbers

_CHUNK_SIZE = 16_000_000  # counts in memory at once: 128 MB; with fewer, the product is too narrow to be fast


def place(numbers: Sequence[Numbers]) -> list[slice]:
    """The columns of each metric in a row of all sums: its K numbers, then the number of rows that count."""
    ends = np.cumsum([own.shape[1] + 1 for own in numbers]).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def score_draws(
    metrics: Sequence[Metric], columns: Sequence[slice], draws: Numbers, confidence: float
) -> dict[str, float]:
    """Scores with bounds of what `resample` returns, (1 + N, K); a metric without a row has no score."""
    scores: dict[str, float] = {}
    for metric, own in zip(metrics, columns, strict=True):
        values = score_all(metric, draws[:, own])
        scores |= bound(metric.name, values[0], values[1:], confidence)
    return scores


def bound(name: str, value: float | Numbers, drawn: ArrayLike, confidence: float) -> dict[str, float]:
    """`{name, name_low, name_high}` of a value and its resamples (N,); {} if the value is NaN.

    Resamples without a value, as of a part that they have no row of, do not count; without any there are no bounds.
    """
    if not np.isfinite(value):
        return {}
    scores, known = {name: float(value)}, np.asarray(drawn)[np.isfinite(drawn)]
    if len(known):
        tail = 50 * (1 - confidence)
        low, high = np.percentile(known, [tail, 100 - tail])
        scores |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return scores


def bound_difference(values: Numbers, exchanged: Numbers, confidence: float) -> dict[str, float]:
    """`{difference, low, high, p}` of a paired difference and its resamples, (1 + N,), and its exchanges (M,).

    An exchange swaps the two systems' answers in some of the groups, see `permute`. p is the share of exchanges with a
    difference at least as large, in either direction.
    """
    bounds = bound("difference", values[0], values[1:], confidence)
    at_least = np.count_nonzero(np.abs(exchanged) >= abs(values[0]) - 1e-9)  # rounding of equal differences
    named = {name.removeprefix("difference_"): each for name, each in bounds.items()}
    # The difference as it is counts as one of the exchanges, so that p is never 0.
    return {**named, "p": (1 + at_least) / (len(exchanged) + 1)}


def score_all(metric: Metric, sums: Numbers) -> Numbers:
    """The metric of sums (..., K + 1), of which the last is the number of rows; NaN without rows."""
    num_rows = sums[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(num_rows > 0, metric.of_sums(sums[..., :-1], num_rows), np.nan)


def number_groups(groups: Sequence[str]) -> NDArray[np.intp]:
    """The number of each row's group, in the order of their names."""
    ordered = {name: number for number, name in enumerate(sorted(set(groups)))}
    return np.array([ordered[name] for name in groups], dtype=np.intp)


def sum_by_group(numbers: Numbers, groups: NDArray[np.intp], num_groups: int | None = None) -> Numbers:
    """(groups, K): the sums of the rows of each group."""
    sums = np.zeros((num_groups if num_groups is not None else groups.max(initial=-1) + 1, numbers.shape[1]))
    np.add.at(sums, groups, numbers)
    return sums


def resample(
    parts: Sequence[Numbers], num_resamples: int, rng: np.random.Generator, columns: Sequence[slice] = ()
) -> list[Numbers]:
    """For each part (G, K) its sums (1 + N, K): over all groups, then over G groups drawn with replacement, N times.

    All parts see the same draws, because they are sums over the same groups. A group that has no row of a part is
    zero in it. `columns` of metrics, see `place`: if their rows are of one group, the number of rows is NaN in the
    draws, which would all have the same score.
    """
    stacked = np.hstack(parts)
    ends = np.cumsum([part.shape[1] for part in parts])
    distinct, places = np.unique(stacked, axis=1, return_inverse=True)  # metrics and parts share many columns
    result = np.empty((1 + num_resamples, len(places)))
    result[0] = stacked.sum(axis=0)
    with threadpool_limits(1):  # threads of a product so narrow wait for each other, for minutes on a busy machine
        for start, counts in count_draws(len(stacked), num_resamples, rng):
            result[1 + start : 1 + start + len(counts)] = (counts @ distinct)[:, places]
    split = np.split(result, ends[:-1], axis=1)
    counted = [own.stop - 1 for own in columns]
    for part, own in zip(parts, split, strict=True):
        own[1:, [place for place in counted if np.count_nonzero(part[:, place]) < 2]] = np.nan
    return split


def permute(differences: Numbers, num_permutations: int, rng: np.random.Generator) -> Numbers:
    """(num_permutations, K): sums of the differences (G, K) of the groups, each kept or dropped with equal chance.

    Added to one side and taken from the other, they exchange two systems' answers within groups.
    """
    block = max(1, _CHUNK_SIZE // max(len(differences), 1))
    sizes = [min(block, num_permutations - start) for start in range(0, num_permutations, block)]
    drawn = (rng.integers(2, size=(size, len(differences)), dtype=np.int8).astype(float) for size in sizes)
    return np.concatenate([each @ differences for each in drawn])


def count_draws(num_groups: int, num_resamples: int, rng: np.random.Generator) -> Iterator[tuple[int, Numbers]]:
    """Yield blocks of (resamples, groups): how often each is drawn, with the number of the block's first resample."""
    block = max(1, _CHUNK_SIZE // num_groups)
    for start in range(0, num_resamples, block):
        counts = np.empty((min(block, num_resamples - start), num_groups))
        for row in counts:  # one by one, because the counters of one resample fit the processor's cache
            row[:] = np.bincount(rng.integers(num_groups, size=num_groups, dtype=np.uint32), minlength=num_groups)
        yield start, counts
