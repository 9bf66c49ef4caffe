import numpy as np
import pyarrow as pa
import pytest
from sklearn.calibration import calibration_curve

from openmedq.evaluation.metrics import calibration

ALL_BINS = 2 * calibration.NUM_BINS  # of scikit-learn, over [0, 1]


def draw(num_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.log(rng.uniform(1e-6, 0.4, (num_rows, 2))), rng.choice(["Yes", "no."], num_rows)


def calibrate(log_probs: np.ndarray, references: np.ndarray) -> dict:
    column = pa.array([*log_probs.tolist(), None], pa.list_(pa.float32()))
    return calibration.calibrate(pa.table({"yes_no_log_probs": column, "reference": [*references, "the lung"]}))


@pytest.mark.parametrize("num_rows", [1, 7, 5_000])
def test_bins_are_those_of_scikit_learn(num_rows: int) -> None:
    log_probs, references = draw(num_rows, num_rows)
    found = calibrate(log_probs, references)
    probabilities = np.exp(log_probs.astype(np.float32).astype(float))
    is_yes = probabilities[:, 0] >= probabilities[:, 1]
    confidence = probabilities.max(axis=1) / probabilities.sum(axis=1)
    is_right = is_yes == (references == "Yes")
    accuracies, confidences = calibration_curve(is_right, confidence, n_bins=ALL_BINS, strategy="uniform")
    bins = found["bins"]
    np.testing.assert_allclose([each["accuracy"] for each in bins], accuracies, atol=1e-4)
    np.testing.assert_allclose([each["confidence"] for each in bins], confidences, atol=1e-4)
    sizes = [each["num_rows"] for each in bins]
    assert sum(sizes) == found["num_rows"] == num_rows
    error = np.average(np.abs(accuracies - confidences), weights=sizes)
    assert found["expected_calibration_error"] == pytest.approx(error, abs=1e-4)


def test_a_row_at_an_edge_is_in_one_bin() -> None:
    found = calibration.describe_bins(np.array([0.5, 0.55, 0.5499, 1.0]), [True, True, False, True])
    assert [(each["low"], each["num_rows"]) for each in found["bins"]] == [(0.5, 2), (0.55, 1), (0.95, 1)]
