"""Scores of metrics by name, computed from texts or labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from openmedq.evaluation.metrics import CLASSIFICATION_METRICS, METRICS
from openmedq.evaluation.metrics.classification import mean_of_known
from openmedq.evaluation.metrics.intervals import number_groups, place, resample, score_draws, sum_by_group
from openmedq.evaluation.metrics.metric import Metric


def find(name: str) -> Metric:
    return next(metric for metric in (*METRICS, *CLASSIFICATION_METRICS) if metric.name == name)


def score(name: str, answers: Sequence[str], references: Sequence[str]) -> float:
    rows = [(answer, [reference]) for answer, reference in zip(answers, references, strict=True)]
    return score_rows(find(name), rows)


def score_rows(metric: Metric, rows: Sequence[tuple[Any, ...]]) -> float:
    """The score of rows, each the arguments of the metric's `of_row`; of classes, their mean."""
    numbers = metric.measure(rows)
    numbers = numbers[np.isfinite(numbers).all(axis=1)]
    found = metric.of_sums(numbers.sum(axis=0), len(numbers))
    return float(mean_of_known(found) if np.ndim(found) else found)


def macro_f1(labels: Sequence[Any], predictions: Sequence[Any], classes: Sequence[str]) -> float:
    pairs = zip(labels, predictions, strict=True)
    rows = [(*([one] if isinstance(one, str) else one for one in pair), classes) for pair in pairs]
    return score_rows(find("macro_f1"), rows)


def bootstrap(
    metrics: Sequence[Metric], numbers: Sequence[Any], groups: Sequence[str], *, num_resamples: int, seed: int
) -> dict[str, float]:
    """Scores with 95 % intervals of rows, given numbers (rows, K) for each metric, and groups; NaN does not count."""
    counted = [part for own in numbers for part in (np.nan_to_num(own), np.isfinite(own[:, :1]))]
    sums, columns = sum_by_group(np.hstack(counted), number_groups(groups)), place(numbers)
    (draws,) = resample([sums], num_resamples, np.random.default_rng(seed), columns)
    return score_draws(metrics, columns, draws, 0.95)
