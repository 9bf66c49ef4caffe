"""Cheap companions of fine-tuning, on the features of a frozen encoder, which are computed once per benchmark.

- `linear_probe`: logistic regression on all training rows.
- `knn`: the NUM_NEIGHBORS nearest training rows by cosine similarity.
- `few_shot_1`, `few_shot_5`, `few_shot_10`: logistic regression on as many training rows of each class, drawn once per
  seed, as in MedFMC's protocol.

Features are the two pooled vectors, standardized (of `knn`: centered) with the
training rows in use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from openmedq.evaluation.classifier import Batches
from openmedq.evaluation.metrics import CLASSIFICATION_METRICS
from openmedq.evaluation.towers.tower import Tower
from openmedq.model.pixels import normalize

NUM_NEIGHBORS = 20
SHOTS = (1, 5, 10)  # rows of each class
MAX_ITERATIONS = 1000

Numbers = NDArray[np.float64]
Features = NDArray[np.float32]  # (rows, 2 D)


@torch.inference_mode()
def extract(tower: Tower, batches: Batches) -> Features:
    """Compute the features of rows with the frozen encoder, (rows, 2 D)."""
    _, mean, std, _ = tower.preprocessing
    device = next(tower.parameters()).device
    tower.eval()
    found = [torch.cat(tower(normalize(pixels.to(device), mean, std)), dim=1).cpu().numpy() for _, pixels in batches]
    return np.concatenate(found)


def score(
    labels: Sequence[Sequence[str]],
    probabilities: Numbers,
    classes: Sequence[str],
    decide: Callable[[Sequence[float]], list[str]],
) -> dict[str, float]:
    """Score probabilities (rows, m): CLASSIFICATION_METRICS, balanced accuracy and AUROC, in [0, 1].

    Of rows with one class, balanced accuracy is the mean recall of the classes; of rows with several, the mean over
    classes of the means of recall and specificity. AUROC is the mean of one class against the rest. Classes without
    rows, or without other rows, are left out; without any class left, the score is left out.
    """
    decided = [decide(row) for row in probabilities.tolist()]
    rows = [(own, predicted, classes) for own, predicted in zip(labels, decided, strict=True)]
    scores = {metric.name: metric.score(metric.measure(rows)) for metric in CLASSIFICATION_METRICS}
    true, predicted = (mark(each, classes) for each in (labels, decided))
    num_true = true.sum(axis=0)
    both = (num_true > 0) & (num_true < len(true))
    if not both.any():
        return scores
    true, predicted, probabilities = (each[:, both] for each in (true, predicted, probabilities))
    num_true, num_other = num_true[both], len(true) - num_true[both]
    recall = (true * predicted).sum(axis=0) / num_true
    specificity = ((1 - true) * (1 - predicted)).sum(axis=0) / num_other
    is_single = all(len(own) == 1 for own in labels)
    scores["balanced_accuracy"] = float((recall if is_single else (recall + specificity) / 2).mean())
    # The area is the share of pairs of a row of the class and another row that are in order; ties count half.
    ranks = rankdata(probabilities, axis=0)
    in_order = (true * ranks).sum(axis=0) - num_true * (num_true + 1) / 2
    scores["auroc"] = float((in_order / (num_true * num_other)).mean())
    return scores


def compare(
    train: tuple[Features, Numbers],
    test: Features,
    measure: Callable[[Numbers], dict[str, float]],
    seeds: Sequence[int],
    *,
    is_multi_label: bool,
) -> dict[str, dict[str, float]]:
    """Score all companions.

    Args:
        train: features and targets (rows, m) of 0 and 1 of the training rows.
        test: features of the test rows.
        measure: scores probabilities (rows, m) of the test rows.
        seeds: of the draws of training rows; scores are the mean over seeds.
        is_multi_label: whether a row may have several classes.
    """
    features, targets = train
    found = {
        "linear_probe": measure(fit(features, targets, test, is_multi_label=is_multi_label)),
        "knn": measure(find_nearest(features, targets, test)),
    }
    for num in SHOTS:
        runs = []
        for seed in seeds:
            drawn = draw(targets, num, seed)
            runs.append(measure(fit(features[drawn], targets[drawn], test, is_multi_label=is_multi_label)))
        found[f"few_shot_{num}"] = {name: float(np.mean([each[name] for each in runs])) for name in runs[0]}
    return found


def mark(labels: Sequence[Sequence[str]], classes: Sequence[str]) -> Numbers:
    """(rows, m): 1 for each class of a row, else 0."""
    return np.array([[float(name in own) for name in classes] for own in labels]).reshape(len(labels), len(classes))


def draw(targets: Numbers, num: int, seed: int) -> NDArray[np.int64]:
    """Draw at most `num` rows of each class."""
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(column))[:num] for column in targets.T]
    return np.unique(np.concatenate(drawn))


def fit(features: Features, targets: Numbers, test: Features, *, is_multi_label: bool) -> Numbers:
    """Fit a logistic regression, of each class if rows may have several; return probabilities (rows, m)."""
    mean, std = features.mean(axis=0), features.std(axis=0)
    train, test = ((each - mean) / np.where(std > 0, std, 1) for each in (features, test))
    if not is_multi_label:
        return _regress(train, targets.argmax(axis=1), test, targets.shape[1])
    columns = [_regress(train, column.astype(int), test, 2)[:, 1] for column in targets.T]
    return np.stack(columns, axis=1)


def _regress(train: Any, labels: NDArray[np.int64], test: Any, num_classes: int) -> Numbers:
    from sklearn.linear_model import LogisticRegression

    probabilities = np.zeros((len(test), num_classes))
    present = np.unique(labels)
    if len(present) == 1:
        probabilities[:, present] = 1
    else:
        model = LogisticRegression(max_iter=MAX_ITERATIONS).fit(train, labels)
        probabilities[:, model.classes_] = model.predict_proba(test)
    return probabilities


def find_nearest(features: Features, targets: Numbers, test: Features) -> Numbers:
    """The share of each class among the nearest training rows, (rows, m)."""
    from sklearn.neighbors import NearestNeighbors

    mean = features.mean(axis=0)
    index = NearestNeighbors(n_neighbors=min(NUM_NEIGHBORS, len(features)), metric="cosine", algorithm="brute")
    nearest = index.fit(features - mean).kneighbors(test - mean, return_distance=False)
    shares: Numbers = targets[nearest].mean(axis=1)
    return shares
