from __future__ import annotations

import io
import logging
import os
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from openmedq.benchmarks.pneumonia_mnist import FILE, miniature, read
from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Sample


def arrays(**changes: Any) -> dict[str, Any]:
    """Three splits of four pictures, with changes; None takes an array away."""
    whole: dict[str, Any] = {}
    for number, split in enumerate(("train", "val", "test")):
        whole[f"{split}_images"] = np.full((4, 28, 28), 10 * number, np.uint8) + np.arange(4)[:, None, None].astype(
            "u1"
        )
        whole[f"{split}_labels"] = np.array([[0], [1], [1], [0]], np.uint8)
    return {name: array for name, array in (whole | changes).items() if array is not None}


def write(raw: Path, **changes: Any) -> Path:
    np.savez_compressed(raw / FILE, **arrays(**changes))
    return raw


def test_rows_are_pictures_with_a_class(tmp_path: Path) -> None:
    rows = list(read(write(tmp_path)))
    assert Counter(row.split for row in rows) == {"train": 4, "val": 4, "test": 4}
    row = rows[5]
    assert isinstance(row, Sample)
    assert (row.id, row.labels, row.turns[0].answer) == ("pneumonia_mnist/val-1", ("pneumonia",), "pneumonia")
    picture = Image.open(io.BytesIO(row.images[0].data or b""))
    assert (picture.mode, picture.size) == ("L", (28, 28))
    assert set(np.asarray(picture).ravel()) == {11}


def test_a_label_that_is_no_class_is_rejected(tmp_path: Path) -> None:
    rows = list(read(write(tmp_path, val_labels=np.array([[0], [7], [1], [-1]]))))
    bad = [row for row in rows if isinstance(row, Rejected)]
    assert [(row.id, row.reason) for row in bad] == [
        ("pneumonia_mnist/val-1", Reason.ANSWER_NOT_AN_OPTION),
        ("pneumonia_mnist/val-3", Reason.ANSWER_NOT_AN_OPTION),
    ]
    assert len(rows) == 12


@pytest.mark.parametrize(
    "changes",
    [
        {"test_images": None},
        {"train_labels": None},
        {"val_images": np.zeros((4, 28, 28))},
        {"val_images": np.zeros((4, 64, 64), np.uint8)},
        {"val_images": np.zeros((4, 28, 28, 3), np.uint8)},
        {"val_images": np.uint8(3)},
        {"val_labels": np.zeros(4, np.uint8)},
        {"val_labels": np.zeros((5, 1), np.uint8)},
        {"val_labels": np.zeros((4, 1))},
        {"val_labels": np.array([[None]] * 4, dtype=object)},
        {"train_images": np.asfortranarray(np.arange(4 * 784, dtype=np.uint8).reshape(4, 28, 28))},
    ],
)
def test_other_arrays_are_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match=FILE) as error:
        list(read(write(tmp_path, **changes)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["train_images.npy", "val_labels.npy"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"\x93NUMPY\x09\x00",
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999, 28, 28), }\n",
        b"\x93NUMPY\x01\x00\x10\x00__import__('os')\n",
    ],
)
def test_a_lying_array_is_one_line(tmp_path: Path, name: str, data: bytes) -> None:
    whole = arrays()
    with zipfile.ZipFile(tmp_path / FILE, "w") as archive:
        for key, array in whole.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(f"{key}.npy", data if f"{key}.npy" == name else buffer.getvalue())
    with pytest.raises(SourceError, match="no plain array"):
        list(read(tmp_path))


def test_another_file_than_the_published_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    next(read(write(tmp_path)))
    assert any("md5 differs" in message for message in caplog.messages)


def test_the_miniature_can_be_learned(tmp_path: Path) -> None:
    """A nearest-mean look at brightness within the lungs does better than the most frequent class."""
    miniature(tmp_path / "x")
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


def test_the_real_file_is_read_whole() -> None:
    folder = os.environ.get("OPENMEDQ_REAL_DATA")
    if not folder:
        pytest.skip("OPENMEDQ_REAL_DATA is not set: no real sets to read")
    rows = list(read(Path(folder) / "MedMNIST"))
    assert Counter(row.split for row in rows) == {"train": 3882, "val": 524, "test": 624}
    assert all(isinstance(row, Sample) for row in rows)
    assert len({row.labels for row in rows}) == 2
