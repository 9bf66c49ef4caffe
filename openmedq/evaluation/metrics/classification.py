"""Metrics of classification, with one label a row or several."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from openmedq.evaluation.metrics.metric import Count, Numbers

_CHUNK_SIZE = 2**21  # counts of rows in memory at once: 16 MB


def count_outcomes(labels: Collection[str], predictions: Collection[str], classes: Sequence[str]) -> Numbers:
    """(3 x classes + 1): for each class true positives, then false positives, then false negatives of one row.

    The last number is 1 if the row has exactly one label. All labels and predictions are among `classes`.
    """
    is_true, is_predicted = (np.array([name in carried for name in classes]) for carried in (labels, predictions))
    outcomes = [is_true & is_predicted, ~is_true & is_predicted, is_true & ~is_predicted, [len(labels) == 1]]
    return np.hstack(outcomes).astype(np.float64)


def f1_of_classes(sums: Numbers, num_rows: Count) -> Numbers:
    """F1 = 2 TP / (2 TP + FP + FN) of each class, in [0, 1], (..., m), of (..., 3 m + 1) summed outcomes.

    As in scikit-learn, a class that is predicted but not in the labels has 0. A class that is neither has NaN, and 0 if
    there is no other class.
    """
    true_positives, false_positives, false_negatives = np.split(sums[..., :-1], 3, axis=-1)
    seen = 2 * true_positives + false_positives + false_negatives
    f1 = 2 * true_positives / np.maximum(seen, 1)
    return np.where((seen > 0) | ~seen.any(axis=-1, keepdims=True), f1, np.nan)


def balanced_accuracy_of_classes(sums: Numbers, num_rows: Count) -> Numbers:
    """Recall of each class, in [0, 1], (..., m), of (..., 3 m + 1) summed outcomes; NaN if no row has the class.

    If rows have several labels or none, the mean of recall and specificity; then it is NaN also if all rows have it.
    """
    true_positives, false_positives, false_negatives = np.split(sums[..., :-1], 3, axis=-1)
    size = np.asarray(num_rows, np.float64)[..., None]
    positives = true_positives + false_negatives
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, specificity = true_positives / positives, 1 - false_positives / (size - positives)
    return np.where(sums[..., -1:] == size, recall, (recall + specificity) / 2)


def mean_of_known(values: Numbers) -> Numbers:
    """The mean over the classes (..., m) without NaN; NaN if there is nothing else."""
    is_known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(is_known, values, 0).sum(axis=-1) / is_known.sum(axis=-1))


def fill(of_draws: Numbers, of_all: Numbers, is_absent: NDArray[np.bool_]) -> Numbers:
    """Replace the scores (draws, m) of classes that a draw of the rows has no row of by their scores (m,) of all rows.

    The mean is then over the same classes in each draw. Otherwise it would be higher in draws without a rare class that
    has a low score, and an interval could exclude the score of all rows.
    """
    return np.where(is_absent | np.isnan(of_draws), of_all, of_draws)


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
