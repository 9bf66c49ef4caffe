"""Cheap companions of fine-tuning, on the features of a frozen encoder, which are computed once per benchmark.

- `linear_probe`: logistic regression on all training rows.
- `knn`: the NUM_NEIGHBORS nearest training rows by cosine similarity.
- `few_shot_1`, `few_shot_5`, `few_shot_10`: logistic regression on as many training rows of each class, drawn once per
  seed, as in MedFMC's protocol.

Features are the two pooled vectors, standardized (of `knn`: centered) with the training rows in use. They are changed
in place, because those of a large dataset are a third of the memory that the stage may use.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from openmedq.evaluation.classifier import Batches
from openmedq.evaluation.towers.tower import Tower
from openmedq.model.pixels import normalize

NUM_NEIGHBORS = 20
SHOTS = (1, 5, 10)  # rows of each class
MAX_ITERATIONS = 1000

_SMALL = 2**22  # numbers: threads of an optimizer of fewer wait for each other
_COMPARED_AT_ONCE = 2**24  # similarities: 64 MB

Numbers = NDArray[np.float64]
Features = NDArray[np.float32]  # (rows, 2 D)


@torch.inference_mode()
def extract(tower: Tower, batches: Batches, num_rows: int, advance: Callable[[int], None]) -> Features:
    """Compute the features of rows with the frozen encoder, (rows, 2 D)."""
    _, mean, std, _ = tower.preprocessing
    device = next(tower.parameters()).device
    tower.eval()
    features = np.empty((num_rows, 2 * tower.width), np.float32)
    start = 0
    for rows, pixels in batches:
        pooled = tower(normalize(pixels.to(device), mean, std))
        features[start : start + len(rows)] = torch.cat(pooled, dim=1).cpu().numpy()
        start += len(rows)
        advance(len(rows))
    return features


def predict(
    train: tuple[Features, Numbers], test: Features, seeds: Sequence[int], *, is_multi_label: bool
) -> Iterator[tuple[str, int, Numbers]]:
    """Yield the probabilities (rows, m) of the test rows by each companion and seed: (name, seed, probabilities).

    `train` are features and targets (rows, m) of 0 and 1. All features are overwritten. `seeds` are those of the draws
    of training rows; what draws none has the first.
    """
    features, targets = train
    with threadpool_limits(1) if features.size < _SMALL else nullcontext():
        for num in SHOTS:
            for seed in seeds:
                drawn = draw(targets, num, seed)
                mean, std = _spread(features[drawn])
                own, others = (features[drawn] - mean) / std, (test - mean) / std
                yield f"few_shot_{num}", seed, fit(own, targets[drawn], others, is_multi_label=is_multi_label)
        mean, std = _spread(features)
        for each in (features, test):
            each -= mean
        yield "knn", seeds[0], find_nearest(features, targets, test)
        for each in (features, test):
            each /= std
        yield "linear_probe", seeds[0], fit(features, targets, test, is_multi_label=is_multi_label)


def _spread(features: Features) -> tuple[Features, Features]:
    """Mean and standard deviation of each column; 1 for a column that is constant but for rounding."""
    mean, std = features.mean(axis=0), features.std(axis=0)
    return mean, np.where(std > 1e-6 * np.abs(mean), std, 1)


def mark(labels: Sequence[Sequence[str]], classes: Sequence[str]) -> Numbers:
    """(rows, m): 1 for each class of a row, else 0."""
    return np.array([[float(name in own) for name in classes] for own in labels]).reshape(len(labels), len(classes))


def draw(targets: Numbers, num: int, seed: int) -> NDArray[np.int64]:
    """Draw at most `num` rows of each class; of rows without classes, `num`."""
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(column))[:num] for column in targets.T]
    return np.unique(np.concatenate(drawn if targets.any() else [rng.permutation(len(targets))[:num]]))


def fit(features: Features, targets: Numbers, test: Features, *, is_multi_label: bool) -> Numbers:
    """Fit a logistic regression, of each class if rows may have several; return probabilities (rows, m)."""
    if not is_multi_label:
        return _regress(features, targets.argmax(axis=1), test, targets.shape[1])
    columns = [_regress(features, column.astype(int), test, 2)[:, 1] for column in targets.T]
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
    """The share of each class among the nearest training rows by the cosine of centered features, (rows, m)."""
    norms = np.maximum(np.linalg.norm(features, axis=1), np.finfo(np.float32).tiny)
    num = min(NUM_NEIGHBORS, len(features))
    block = max(1, _COMPARED_AT_ONCE // len(features))
    shares = np.empty((len(test), targets.shape[1]))
    for start in range(0, len(test), block):
        similarities = test[start : start + block] @ features.T / norms
        nearest = np.argpartition(similarities, len(features) - num, axis=1)[:, len(features) - num :]
        shares[start : start + block] = targets[nearest].mean(axis=1)
    return shares
