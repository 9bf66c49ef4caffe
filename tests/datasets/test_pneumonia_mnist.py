"""PneumoniaMNIST; what it shares with MedMNIST's other sets is in tests/formats/test_medmnist.py."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openmedq.datasets.medmnist.pneumonia_mnist import FILE, read
from openmedq.errors import SourceError
from openmedq.schema import Sample
from openmedq.synthetic.pneumonia_mnist import write as miniature


def test_the_miniature_has_what_is_odd_and_can_be_learned(tmp_path: Path) -> None:
    """A nearest-mean look at brightness within the lungs does better than the most frequent class."""
    miniature(tmp_path / "x")
    with np.load(tmp_path / "x" / FILE) as arrays:
        assert arrays["train_labels"].shape == (240, 1)
    rows = [row for row in read(tmp_path / "x") if isinstance(row, Sample)]
    assert Counter(row.labels for row in rows) == {("pneumonia",): 270, ("normal",): 90}
    looks = {split: [row for row in rows if row.split == split] for split in ("train", "test")}

    def brightest(row: Sample) -> float:
        pixels = np.asarray(Image.open(io.BytesIO(row.images[0].data or b"")), np.float32)
        return float(np.sort(pixels.ravel())[-20:].mean())

    means = {
        label: np.mean([brightest(row) for row in looks["train"] if row.labels == (label,)])
        for label in ("normal", "pneumonia")
    }
    guesses = [min(means, key=lambda label, row=row: abs(means[label] - brightest(row))) for row in looks["test"]]
    share = np.mean([(guess,) == row.labels for guess, row in zip(guesses, looks["test"], strict=True)])
    assert share > 0.8


def test_the_real_file_is_not_the_published_one_and_read_whole_where_that_is_allowed(real_data: Path) -> None:
    with pytest.raises(SourceError, match="md5 f5b994ec7c2fe8bc81ae15cbab7c3df8"):
        next(read(real_data / "MedMNIST"))
    rows = list(read(real_data / "MedMNIST", allow_unofficial=True))
    assert Counter(row.split for row in rows) == {"train": 3882, "val": 524, "test": 624}
    assert all(isinstance(row, Sample) for row in rows)
    assert len({row.labels for row in rows}) == 2
