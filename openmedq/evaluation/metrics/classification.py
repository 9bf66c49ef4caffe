"""Macro-F1 of classification sets, with one label a row or several.

A class that no test row carries and nobody predicted has no F1 (0/0) and is left out of the mean, as scikit-learn does
with single labels; one that is predicted though no test row carries it counts as 0. With every class in the test set,
which is the rule, the mean is over all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from openmedq.evaluation.metrics.intervals import bootstrap

Labels = Sequence[str] | Sequence[Collection[str]]  # one class a row, or any number of them


def macro_f1(labels: Labels, predictions: Labels, classes: Sequence[str]) -> float:
    """Mean over classes of F1 = 2 TP / (2 TP + FP + FN), in [0, 1].

    Raises:
        ValueError: a label that is not among `classes`, unequal lengths, or no rows.
    """
    return float(_macro_f1_of_counts(_count_rows(labels, predictions, classes).sum(axis=0)))


def score_classes(
    labels: Labels,
    predictions: Labels,
    classes: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, float]:
    """`{"macro_f1", "macro_f1_low", "macro_f1_high"}`; rows of one group (a patient) are drawn together."""
    counts = _count_rows(labels, predictions, classes)
    keys = [str(row) for row in range(len(counts))] if groups is None else groups
    interval = bootstrap(
        counts, keys, {"macro_f1": _macro_f1_of_counts}, num_resamples=num_resamples, confidence=confidence, seed=seed
    )["macro_f1"]
    return interval.as_metrics("macro_f1")


def _count_rows(labels: Labels, predictions: Labels, classes: Sequence[str]) -> NDArray[np.float64]:
    """(rows, 3 x classes): true positives, false positives, false negatives."""
    if not labels or len(labels) != len(predictions):
        raise ValueError(f"{len(labels)} labels and {len(predictions)} predictions: as many of both, and at least one")
    is_true, is_predicted = _to_indicator(labels, classes), _to_indicator(predictions, classes)
    return np.hstack([is_true & is_predicted, ~is_true & is_predicted, is_true & ~is_predicted]).astype(np.float64)


def _to_indicator(labels: Labels, classes: Sequence[str]) -> NDArray[np.bool_]:
    """(rows, classes): whether the row carries the class."""
    column = {name: index for index, name in enumerate(classes)}
    indicator = np.zeros((len(labels), len(column)), dtype=np.bool_)
    for row, carried in enumerate(labels):
        for name in (carried,) if isinstance(carried, str) else carried:
            if name not in column:
                raise ValueError(f"row {row}: {name!r} is none of the classes {', '.join(classes)}")
            indicator[row, column[name]] = True
    return indicator


def _macro_f1_of_counts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Macro-F1 of (..., 3 x classes) summed counts."""
    true_positives, false_positives, false_negatives = np.split(counts, 3, axis=-1)
    seen = 2 * true_positives + false_positives + false_negatives
    f1 = 2 * true_positives / np.maximum(seen, 1)
    return np.asarray(f1.sum(axis=-1) / np.maximum((seen > 0).sum(axis=-1), 1))
