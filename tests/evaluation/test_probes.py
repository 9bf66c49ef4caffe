from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from openmedq.evaluation import probes


def draw(num_rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, num_rows)
    features = rng.normal(size=(num_rows, 8)) + 1.2 * np.eye(8)[labels]
    return features.astype(np.float32), labels


def test_companions_are_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_COMPARED_AT_ONCE", 100)  # blocks of two test rows
    features, labels = draw()
    features = 3 * features + 5
    features[:40, 7] = 0.1  # constant in training, but for rounding
    targets = np.eye(3)[labels]
    raw = features.copy()
    found = list(probes.predict((features[:40], targets[:40]), features[40:], (0, 1), is_multi_label=False))
    few = [(f"few_shot_{num}", seed) for num in probes.SHOTS for seed in (0, 1)]
    assert [each[:2] for each in found] == [*few, ("knn", 0), ("linear_probe", 0)]
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
    alone = list(probes.predict((features, np.zeros((60, 3))), features[:5].copy(), (0,), is_multi_label=True))
    assert not any(each.any() for _, _, each in alone), "classes that no training row has"


def test_few_shots_are_so_many_rows_of_each_class() -> None:
    _, labels = draw()
    targets = np.eye(3)[np.where(labels == 2, 0, labels)]  # no row of the last class
    drawn = probes.draw(targets, 5, seed=0)
    assert targets[drawn].sum(axis=0).tolist() == [5, 5, 0]
    assert drawn.tolist() == probes.draw(targets, 5, seed=0).tolist() != probes.draw(targets, 5, seed=1).tolist()
