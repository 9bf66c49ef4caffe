"""Bootstrap confidence intervals, clustered: images are drawn with all their questions, not single rows.

Questions about one image are answered right or wrong together; drawing them one by one would give too narrow an
interval. Every score is a function of sums over rows, so that one matrix product gives all resamples of all metrics.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from openmedq.evaluation.metrics.metric import Metric, Numbers

_CHUNK_SIZE = 4_000_000  # draws in memory at once: 32 MB


def bootstrap(
    metrics: Sequence[Metric],
    numbers: Sequence[Numbers],
    groups: Sequence[str],
    *,
    num_resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, float]:
    """Scores with percentile intervals: `{name, name_low, name_high}` of each metric; no bounds if there is one group.

    As many groups as there are, drawn with replacement. The order of the rows does not matter.

    Args:
        metrics: what to score.
        numbers: for each metric the numbers of all rows, (rows, K).
        groups: for each row the key of what is drawn together.
        num_resamples: number of resamples.
        confidence: share of the resamples within the interval.
        seed: of the draws; the same seed draws the same groups for all metrics.

    Raises:
        ValueError: no rows, or another number of groups than of rows.
    """
    num_rows = len(groups)
    if num_rows == 0 or any(len(each) != num_rows for each in numbers):
        raise ValueError(f"{num_rows} groups for {[len(each) for each in numbers]} rows; expected one group a row")
    sums = _sum_by_group(np.hstack([*numbers, np.ones((num_rows, 1))]), groups)  # (G, sum of K + 1)
    resampled = _resample(sums, num_resamples, np.random.default_rng(seed)) if len(sums) > 1 else None
    tail = 50 * (1 - confidence)
    scores: dict[str, float] = {}
    start = 0
    for metric, own in zip(metrics, numbers, strict=True):
        part = slice(start, start := start + own.shape[1])
        scores[metric.name] = float(metric.of_sums(sums[:, part].sum(axis=0), num_rows))
        if resampled is not None:
            low, high = np.percentile(metric.of_sums(resampled[:, part], resampled[:, -1]), [tail, 100 - tail])
            scores |= {f"{metric.name}_low": float(low), f"{metric.name}_high": float(high)}
    return scores


def _sum_by_group(numbers: Numbers, groups: Sequence[str]) -> Numbers:
    names, membership = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    sums = np.zeros((len(names), numbers.shape[1]))
    np.add.at(sums, membership, numbers)
    return sums


def _resample(sums: Numbers, num_resamples: int, rng: np.random.Generator) -> Numbers:
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
