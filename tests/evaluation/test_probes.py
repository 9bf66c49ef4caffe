"""Companions of frozen features, against scikit-learn."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from openmedq.evaluation import encoder_table, probes

CLASSES = ["a", "b", "c"]


def decide(row: Sequence[float]) -> list[str]:
    return [CLASSES[int(np.argmax(row))]]


def decide_each(row: Sequence[float]) -> list[str]:
    return [name for name, value in zip(CLASSES, row, strict=True) if value > 0.5]


def score(
    labels: Sequence[Sequence[str]], probabilities: np.ndarray, decide: Callable[[Sequence[float]], list[str]]
) -> dict[str, float]:
    """The scores of `encoder_table.measure`."""
    rows = [
        {"benchmark": "x", "seed": 0, "group": number, "labels": own, "predictions": decide(row), "probabilities": row}
        for number, (own, row) in enumerate(zip(labels, probabilities.tolist(), strict=True))
    ]
    measured = encoder_table.measure(pa.Table.from_pylist(rows), CLASSES, 0)
    return {name: values[0] for name, values in measured.items() if np.isfinite(values[0]).all()}


def draw(num_rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Features that depend on the class, and the class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, num_rows)
    features = rng.normal(size=(num_rows, 8)) + 1.2 * np.eye(8)[labels]
    return features.astype(np.float32), labels


def test_scores_of_one_class_a_row_are_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    labels, probabilities = rng.integers(0, 3, 50), rng.dirichlet(np.ones(3), 50)
    scores = score([[CLASSES[label]] for label in labels], probabilities, decide)
    predicted = probabilities.argmax(axis=1)
    assert scores["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert scores["auroc"] == pytest.approx(roc_auc_score(labels, probabilities, multi_class="ovr", average="macro"))


def test_scores_of_several_classes_a_row_are_scikit_learns() -> None:
    rng = np.random.default_rng(2)
    marks, probabilities = rng.integers(0, 2, (50, 3)), rng.random((50, 3)).round(1)  # with ties
    labels = [[name for name, is_own in zip(CLASSES, row, strict=True) if is_own] for row in marks]
    scores = score(labels, probabilities, decide_each)
    assert scores["auroc"] == pytest.approx(roc_auc_score(marks, probabilities, average="macro"))
    each = [balanced_accuracy_score(marks[:, k], probabilities[:, k] > 0.5) for k in range(3)]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(each))


def test_a_class_without_rows_is_left_out() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]])
    scores = score([["a"], ["b"], ["b"]], probabilities, decide)
    assert scores["balanced_accuracy"] == 0.75 and scores["auroc"] == 1.0
    assert "auroc" not in score([["a"], ["a"], ["a"]], probabilities, decide)


def test_companions_are_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_COMPARED_AT_ONCE", 100)  # blocks of two test rows
    features, labels = draw()
    features = 3 * features + 5
    targets = np.eye(3)[labels]
    raw = features.copy()
    found = list(probes.predict((features[:40], targets[:40]), features[40:], (0, 1), is_multi_label=False))
    names = [name for name, _, _ in found]
    assert names == [
        "few_shot_1",
        "few_shot_1",
        "few_shot_5",
        "few_shot_5",
        "few_shot_10",
        "few_shot_10",
        "knn",
        "linear_probe",
    ]
    for name, seed, probabilities in found:
        rows = np.arange(40) if name in ("knn", "linear_probe") else probes.draw(targets[:40], int(name[9:]), seed)
        if name == "knn":
            centered = raw - raw[:40].mean(axis=0)
            model: Any = KNeighborsClassifier(probes.NUM_NEIGHBORS, metric="cosine").fit(centered[:40], labels[:40])
            expected = model.predict_proba(centered[40:])
        else:
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(raw[rows], labels[rows])
            expected = model.predict_proba(raw[40:])
        np.testing.assert_allclose(probabilities, expected, atol=2e-3, err_msg=name)


def test_each_class_of_several_is_a_regression_of_its_own() -> None:
    features, labels = draw()
    targets = np.stack([labels == 0, labels != 1, np.ones(60)], axis=1).astype(float)
    found = probes.fit(features, targets, features, is_multi_label=True)
    alone = probes.fit(features, np.eye(2)[(labels == 0).astype(int)], features, is_multi_label=False)
    np.testing.assert_allclose(found[:, 0], alone[:, 1], atol=1e-4)
    assert (found[:, 2] == 1).all(), "a class that all training rows have"


def test_few_shots_are_so_many_rows_of_each_class() -> None:
    _, labels = draw()
    targets = np.eye(3)[np.where(labels == 2, 0, labels)]  # no row of the last class
    drawn = probes.draw(targets, 5, seed=0)
    assert targets[drawn].sum(axis=0).tolist() == [5, 5, 0]
    assert drawn.tolist() == probes.draw(targets, 5, seed=0).tolist() != probes.draw(targets, 5, seed=1).tolist()


def test_more_shots_are_better() -> None:
    features, labels = draw(600)
    train = features[:300], np.eye(3)[labels[:300]]
    found: dict[str, list[float]] = {}
    for name, _, each in probes.predict(train, features[300:], (0, 1, 2), is_multi_label=False):
        found.setdefault(name, []).append(f1_score(labels[300:], each.argmax(axis=1), average="macro"))
    scores = {name: sum(each) / len(each) for name, each in found.items()}
    assert scores["few_shot_1"] < scores["few_shot_10"] < scores["linear_probe"]
    assert scores["knn"] > scores["few_shot_1"] > 1 / 3
