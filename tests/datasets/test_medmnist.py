"""BloodMNIST and RetinaMNIST; what they share with MedMNIST's other sets is in tests/formats/test_medmnist.py."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from openmedq import synthetic
from openmedq.datasets.medmnist import blood_mnist, retina_mnist
from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Sample

SETS = [blood_mnist, retina_mnist]

every_set = pytest.mark.parametrize("set_", SETS, ids=[set_.card.id for set_ in SETS])


def write(raw: Path, set_: ModuleType, labels: list[int], side_px: int = 28, num_channels: int = 3) -> Path:
    shape = (len(labels), side_px, side_px, num_channels)[: 4 if num_channels > 1 else 3]
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    arrays = {}
    for split in ("train", "val", "test"):
        arrays |= {f"{split}_images": pixels, f"{split}_labels": np.array(labels, np.uint8)[:, None]}
    np.savez_compressed(raw / set_.FILE, **arrays)
    return raw


def read_miniature(raw: Path, set_: ModuleType) -> list[Sample]:
    synthetic.write(set_.card.id, raw)
    rows = list(set_.read(raw))
    assert all(isinstance(row, Sample) for row in rows)
    return rows


def pixels_of(row: Sample) -> np.ndarray:
    picture = Image.open(io.BytesIO(row.images[0].data or b""))
    assert (picture.mode, picture.size) == ("RGB", (28, 28))
    return np.asarray(picture)


@every_set
def test_a_row_is_a_coloured_picture_with_its_class(tmp_path: Path, set_: ModuleType) -> None:
    rows = list(set_.read(write(tmp_path, set_, [4, 0, 3, 9]), allow_unofficial=True))
    assert Counter(row.split for row in rows) == {"train": 4, "val": 4, "test": 4}
    row, rejected = rows[8], rows[11]
    assert isinstance(row, Sample)
    assert (row.id, row.images[0].image_id) == (f"{set_.card.id}/test-0", "test-0")
    assert row.labels == (row.turns[0].answer,) == (set_.card.classes[4],)
    with np.load(tmp_path / set_.FILE) as arrays:
        assert (pixels_of(row) == arrays["test_images"][0]).all()  # channels in their order
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.ANSWER_NOT_AN_OPTION


@every_set
def test_gray_pictures_and_other_files_are_refused(tmp_path: Path, set_: ModuleType) -> None:
    with pytest.raises(SourceError, match="not the published file"):
        next(set_.read(write(tmp_path, set_, [0])))
    with pytest.raises(SourceError, match=r"train_images is uint8 \(1, 28, 28\); expected uint8, 1 of \(28, 28, 3\)"):
        next(set_.read(write(tmp_path, set_, [0], num_channels=1), allow_unofficial=True))


@every_set
def test_all_sizes_have_an_md5_of_their_own(set_: ModuleType) -> None:
    stem = set_.FILE.removesuffix(".npz")
    assert list(set_._OFFICIAL_MD5S) == [f"{stem}{size}.npz" for size in ("", "_64", "_128", "_224")]
    assert len({md5 for md5 in set_._OFFICIAL_MD5S.values() if len(md5) == 32}) == 4


def test_classes_are_called_as_published(tmp_path: Path) -> None:
    labels = {row.labels[0] for row in read_miniature(tmp_path / "blood", blood_mnist)}
    assert "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)" in labels
    assert {row.labels[0] for row in read_miniature(tmp_path / "retina", retina_mnist)} == {"0", "1", "2", "3", "4"}


def test_classes_are_of_unequal_size(tmp_path: Path) -> None:
    blood = Counter(row.labels[0] for row in read_miniature(tmp_path / "blood", blood_mnist))
    assert set(blood) == set(blood_mnist.card.classes)
    assert blood["neutrophil"] > 2 * blood["lymphocyte"]
    retina = Counter(row.labels[0] for row in read_miniature(tmp_path / "retina", retina_mnist))
    assert retina["0"] > 6 * retina["4"] > 0


@every_set
def test_the_miniature_can_be_learned(tmp_path: Path, set_: ModuleType) -> None:
    """The nearest mean of what little a look at hues tells does far better than the most frequent class."""
    rows = read_miniature(tmp_path, set_)
    looks: dict[str, list[tuple[np.ndarray, str]]] = {"train": [], "val": [], "test": []}
    for row in rows:
        hues = np.diff(pixels_of(row).reshape(-1, 3).astype(int)) // 32 + 8  # whatever the brightness
        looks[row.split].append((np.bincount(hues @ [16, 1], minlength=256), row.labels[0]))
    classes = sorted({label for _, label in looks["train"]})
    means = {c: np.mean([look for look, label in looks["train"] if label == c], axis=0) for c in classes}
    guesses = [min(classes, key=lambda c, look=look: np.abs(means[c] - look).sum()) for look, _ in looks["test"]]
    share = np.mean([guess == label for guess, (_, label) in zip(guesses, looks["test"], strict=True)])
    assert share > 0.7
