"""Calibration of yes/no answers: how often an answer is right, by the probability that the model gives to it.

The probability is that of the more probable of the two answers, divided by the sum of both. It is at least 0.5.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from openmedq.evaluation.metrics.answers import normalize_answer

YES_NO = ("yes", "no")  # in the order of `yes_no_log_probs`
NUM_BINS = 10  # of equal width, over [0.5, 1]


def calibrate(predictions: pa.Table) -> dict[str, Any]:
    """Return `{"num_rows", "expected_calibration_error", "bins"}` of the yes/no questions of predictions.parquet.

    The error is the mean over rows of the difference between the accuracy and the mean confidence of the row's bin (Guo
    et al., 2017). A bin has `low`, `high`, `num_rows`, `confidence` and `accuracy`; one without rows is left out.
    Numbers lie in [0, 1] and have 4 decimals. Without rows there is only `num_rows`.
    """
    rows = predictions.filter(pc.is_valid(predictions["yes_no_log_probs"]))
    if not len(rows):
        return {"num_rows": 0}
    log_probs = np.array(rows["yes_no_log_probs"].to_pylist())  # (rows, 2)
    given = np.array(YES_NO)[log_probs.argmax(axis=1)]
    wanted = [normalize_answer(text) for text in rows["reference"].to_pylist()]
    confidence = 1 / (1 + np.exp(log_probs.min(axis=1) - log_probs.max(axis=1)))
    return {"num_rows": len(rows), **describe_bins(confidence, given == wanted)}


def describe_bins(confidence: NDArray[np.float64], is_right: ArrayLike) -> dict[str, Any]:
    """The expected calibration error and the bins of answers with `confidence` (rows,) in [0.5, 1]."""
    edges = np.linspace(0.5, 1, NUM_BINS + 1)
    of_row = np.searchsorted(edges[1:-1], confidence, side="right")  # the bin of each row; a bin has its lower edge
    right = np.asarray(is_right, np.float64)
    bins = []
    for number, (low, high) in enumerate(pairwise(edges)):
        own = of_row == number
        if own.any():
            means = {"confidence": confidence[own].mean(), "accuracy": right[own].mean()}
            bins.append({"low": low, "high": high, "num_rows": int(own.sum()), **means})
    error = sum(each["num_rows"] * abs(each["accuracy"] - each["confidence"]) for each in bins) / len(confidence)
    return {
        "expected_calibration_error": round(float(error), 4),
        "bins": [
            {name: round(float(value), 4) if name != "num_rows" else value for name, value in each.items()}
            for each in bins
        ],
    }
