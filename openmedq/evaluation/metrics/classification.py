"""Macro-F1 of classification, with one label a row or several."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from openmedq.evaluation.metrics.metric import Count, Numbers


def count_outcomes(labels: Collection[str], predictions: Collection[str], classes: Sequence[str]) -> Numbers:
    """(3 x classes): for each class true positives, then false positives, then false negatives of one row.

    Raises:
        ValueError: a label or a prediction that is not among `classes`.
    """
    for name in (*labels, *predictions):
        if name not in classes:
            raise ValueError(f"{name!r} is not one of the classes {', '.join(classes)}")
    is_true, is_predicted = (np.array([name in carried for name in classes]) for carried in (labels, predictions))
    return np.hstack([is_true & is_predicted, ~is_true & is_predicted, is_true & ~is_predicted]).astype(np.float64)


def macro_f1_of_sums(sums: Numbers, num_rows: Count) -> Numbers:
    """Mean over classes of F1 = 2 TP / (2 TP + FP + FN), in [0, 1], of (..., 3 x classes) summed counts.

    As in scikit-learn, a class that is neither in the labels nor predicted is left out of the mean (its F1 is 0/0),
    and a class that is predicted but not in the labels counts as 0.
    """
    true_positives, false_positives, false_negatives = np.split(sums, 3, axis=-1)
    seen = 2 * true_positives + false_positives + false_negatives
    f1 = 2 * true_positives / np.maximum(seen, 1)
    return np.asarray(f1.sum(axis=-1) / np.maximum((seen > 0).sum(axis=-1), 1))
