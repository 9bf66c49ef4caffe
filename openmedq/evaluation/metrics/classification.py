"""Metrics of classification, with one label a row or several."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from openmedq.evaluation.metrics.metric import Count, Numbers

_CHUNK_SIZE = 2**21  # counts of rows in memory at once: 16 MB


def count_outcomes(labels: Collection[str], predictions: Collection[str], classes: Sequence[str]) -> Numbers:
    """(3 x classes + 1): for each class true positives, then false positives, then false negatives of one row.

    The last number is 1 if the row has exactly one label.

    Raises:
        ValueError: a label or a prediction that is not among `classes`.
    """
    for name in (*labels, *predictions):
        if name not in classes:
            raise ValueError(f"{name!r} is not one of the classes {', '.join(classes)}")
    is_true, is_predicted = (np.array([name in carried for name in classes]) for carried in (labels, predictions))
    outcomes = [is_true & is_predicted, ~is_true & is_predicted, is_true & ~is_predicted, [len(labels) == 1]]
    return np.hstack(outcomes).astype(np.float64)


def macro_f1_of_sums(sums: Numbers, num_rows: Count) -> Numbers:
    """Mean over classes of F1 = 2 TP / (2 TP + FP + FN), in [0, 1], of (..., 3 x classes + 1) summed outcomes.

    As in scikit-learn, a class that is neither in the labels nor predicted is left out of the mean (its F1 is 0/0),
    and a class that is predicted but not in the labels counts as 0.
    """
    true_positives, false_positives, false_negatives = np.split(sums[..., :-1], 3, axis=-1)
    seen = 2 * true_positives + false_positives + false_negatives
    f1 = 2 * true_positives / np.maximum(seen, 1)
    return np.asarray(f1.sum(axis=-1) / np.maximum((seen > 0).sum(axis=-1), 1))


def balanced_accuracy_of_sums(sums: Numbers, num_rows: Count) -> Numbers:
    """Mean recall of the classes, in [0, 1], of (..., 3 x classes + 1) summed outcomes; NaN without any class.

    If rows have several labels or none, the mean over classes of the means of recall and specificity. Classes that no
    row has are left out, and with several labels also those that all rows have.
    """
    true_positives, false_positives, false_negatives = np.split(sums[..., :-1], 3, axis=-1)
    size = np.asarray(num_rows, np.float64)[..., None]
    positives = true_positives + false_negatives
    negatives = size - positives
    is_single = sums[..., -1:] == size
    recall = true_positives / np.maximum(positives, 1)
    specificity = 1 - false_positives / np.maximum(negatives, 1)
    counted = (positives > 0) & (is_single | (negatives > 0))
    accuracy = np.where(is_single, recall, (recall + specificity) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((accuracy * counted).sum(axis=-1) / counted.sum(axis=-1))


def auroc(is_true: NDArray[np.bool_], probabilities: Numbers, groups: NDArray[np.intp], draws: Numbers) -> Numbers:
    """(draws, classes): the area under the ROC curve of each class against the rest; NaN without either kind of rows.

    The area is the share of pairs of a row of the class and another row that are in order; ties count half.

    Args:
        is_true: (rows, classes), whether a row has the class.
        probabilities: (rows, classes).
        groups: (rows,), the group of each row.
        draws: (draws, groups), how often a draw has each group; ones for the rows as they are.
    """
    found = np.empty((len(draws), is_true.shape[1]))
    block = max(1, _CHUNK_SIZE // max(1, len(is_true)))
    for column, (own, scores) in enumerate(zip(is_true.T, probabilities.T, strict=True)):
        order = np.argsort(scores, kind="stable")
        ties = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # the first row of each distinct score
        for start in range(0, len(draws), block):
            counts = draws[start : start + block, groups[order]]
            positive = np.add.reduceat(counts * own[order], ties, axis=1)
            negative = np.add.reduceat(counts, ties, axis=1) - positive
            in_order = (positive * (negative.cumsum(axis=1) - negative / 2)).sum(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                found[start : start + block, column] = in_order / (positive.sum(axis=1) * negative.sum(axis=1))
    return found
