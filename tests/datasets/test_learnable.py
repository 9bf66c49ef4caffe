import io

import numpy as np
import pytest
from PIL import Image as PixelImage
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from openmedq.schema import Sample
from tests.datasets.conftest import BENCHMARKS, SETS, FolderOf, samples

SIDE_PX = 28


def pixels_of(sample: Sample) -> np.ndarray:
    (image,) = sample.images
    data = image.data if image.path is None else image.path.read_bytes()
    pixels = np.asarray(PixelImage.open(io.BytesIO(data or b"")).convert("RGB").resize((SIDE_PX, SIDE_PX)))
    return pixels.ravel() / 255


@pytest.mark.parametrize("dataset_id", BENCHMARKS)
def test_a_linear_probe_predicts_the_labels(dataset_id: str, miniature_of: FolderOf) -> None:
    dataset = SETS[dataset_id]
    rows = samples(dataset.read(miniature_of(dataset_id)))
    pixels = np.array([pixels_of(sample) for sample in rows])
    is_test = np.array([sample.split in dataset.card.scored for sample in rows])
    is_train = np.array([sample.split in dataset.card.fitted for sample in rows])
    if not dataset.card.fitted:
        is_test = np.arange(len(rows)) % 2 == 0
        is_train = ~is_test
    labels = np.array([[name in sample.labels for name in dataset.card.classes] for sample in rows])
    counts = np.minimum(labels[is_train].sum(axis=0), labels[is_test].sum(axis=0))
    labels = labels[:, counts >= 2]  # others are too rare
    predicted = Ridge(alpha=10).fit(pixels[is_train], labels[is_train]).predict(pixels[is_test])
    assert roc_auc_score(labels[is_test], predicted) > 0.7
