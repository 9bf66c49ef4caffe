import hashlib
import io
import zipfile
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image as PixelImage

from openmedq.datasets.medmnist import blood_mnist, reader, retina_mnist
from openmedq.datasets.medmnist import pneumonia_mnist as gray
from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Sample
from openmedq.synthetic.medmnist import write_npz

FILE = gray.card.files[0].path


def arrays(side_px: int = 28, num_rows: int = 4, **changes: Any) -> dict[str, Any]:
    """Three splits, with changes; None omits an array."""
    whole: dict[str, Any] = {}
    for number, split in enumerate(("train", "val", "test")):
        level = (10 * number + np.arange(num_rows) % 10)[:, None, None].astype(np.uint8)
        whole[f"{split}_images"] = np.zeros((num_rows, side_px, side_px), np.uint8) + level
        whole[f"{split}_labels"] = (np.arange(num_rows)[:, None] % 2).astype(np.uint8)
    return {name: array for name, array in (whole | changes).items() if array is not None}


def write(raw: Path, name: str = FILE, side_px: int = 28, **changes: Any) -> Path:
    """Write a file that is not the published one."""
    np.savez_compressed(raw / name, **arrays(side_px, **changes))
    return raw


def read(raw: Path) -> list[Sample | Rejected]:
    return list(gray.read(raw, allow_unofficial=True))


@pytest.mark.parametrize("dataset", [blood_mnist, retina_mnist], ids=["blood_mnist", "retina_mnist"])
def test_rgb_images_keep_their_channels_and_gray_ones_are_refused(tmp_path: Path, dataset: ModuleType) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3)).astype(np.uint8)
    images = {f"{split}_images": pixels for split in ("train", "val", "test")}
    write(tmp_path, dataset.card.files[0].path, **images, test_labels=np.array([[4], [0], [3], [9]], np.uint8))
    rows = list(dataset.read(tmp_path, allow_unofficial=True))
    row, rejected = rows[8], rows[11]
    assert (row.id, row.images[0].image_id) == (f"{dataset.card.id}/test-0", "test-0")
    assert row.labels == (row.turns[0].answer,) == (dataset.card.classes[4],)
    assert (np.asarray(PixelImage.open(io.BytesIO(row.images[0].data or b""))) == pixels[0]).all()
    assert isinstance(rejected, Rejected) and rejected.reason is Reason.ANSWER_NOT_AN_OPTION
    with pytest.raises(SourceError, match=r"train_images is uint8 \(4, 28, 28\); expected uint8, 4 of \(28, 28, 3\)"):
        next(dataset.read(write(tmp_path, dataset.card.files[0].path), allow_unofficial=True))


def test_another_file_than_the_published_is_refused_or_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path) / FILE
    with pytest.raises(SourceError) as error:
        next(gray.read(tmp_path))
    assert "\n" not in str(error.value)
    for part in (str(path), hashlib.md5(path.read_bytes()).hexdigest()):
        assert part in str(error.value)
    assert "`normalize.allow_unofficial: true`" in str(error.value)
    assert len(read(tmp_path)) == 12
    assert any("not the published file" in message and FILE in message for message in caplog.messages)


def test_the_published_file_is_read_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path) / FILE
    md5s = {FILE: hashlib.md5(path.read_bytes()).hexdigest()}
    assert len(list(reader.read(gray.card, md5s, 1, tmp_path))) == 12
    assert not caplog.messages


def test_a_miniature_says_that_it_is_one(tmp_path: Path) -> None:
    write_npz(tmp_path / "mini" / FILE, arrays())
    with zipfile.ZipFile(tmp_path / "mini" / FILE) as archive:  # of 4.5 in some versions of Python, with `np.savez`
        assert {member.extract_version for member in archive.infolist()} == {20}
    assert len(list(gray.read(tmp_path / "mini"))) == 12
    with np.load(tmp_path / "mini" / FILE) as whole:
        np.savez(tmp_path / FILE, **{name: whole[name] for name in arrays()})
    with pytest.raises(SourceError, match="not the published file"):
        next(gray.read(tmp_path))


def test_larger_sizes_are_read_by_the_side_in_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for side_px in (224, 64):
        row = read(write(tmp_path, f"pneumoniamnist_{side_px}.npz", side_px))[0]
        assert PixelImage.open(io.BytesIO(row.images[0].data or b"")).size == (side_px, side_px)
    assert any("pneumoniamnist_224.npz: not read" in message for message in caplog.messages)
    assert read(write(tmp_path))[0].provenance.file == FILE  # 28 px is the size of the published scores


@pytest.mark.parametrize(
    "changes",
    [
        {"test_images": None},
        {"train_labels": None},
        {"val_images": np.zeros((4, 32, 32), np.uint8)},
        {"val_images": np.zeros((4, 28, 28, 3), np.uint8)},
        {"val_images": np.zeros((5, 28, 28), np.uint8)},
        {"val_labels": np.zeros((4, 2), np.uint8)},
        {"val_labels": np.zeros((4, 1))},
        {"val_labels": np.array([[None]] * 4, dtype=object)},
        {"train_images": np.asfortranarray(np.arange(4 * 784, dtype=np.uint8).reshape(4, 28, 28))},
    ],
)
def test_other_arrays_are_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match=FILE) as error:
        read(write(tmp_path, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"\x93NUMPY\x09\x00",
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999, 28, 28), }\n",
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '|u1', 'fortran_order': False, 'shape': (4, 1), }"
        + b" " * 10
        + b"\n"
        + bytes(5),
        b"\x93NUMPY\x01\x00\x10\x00__import__('os')\n",
        b"\x93NUMPY\x01\x00\x88\x13" + b"(" * 5000,
    ],
)
def test_a_lying_array_is_one_line(tmp_path: Path, data: bytes) -> None:
    with zipfile.ZipFile(tmp_path / FILE, "w") as archive:
        for key, array in arrays().items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(f"{key}.npy", data if key == "train_images" else buffer.getvalue())
    with pytest.raises(SourceError, match="not a plain array") as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


def test_a_flipped_byte_is_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / FILE, **arrays())
    data = bytearray((tmp_path / FILE).read_bytes())
    data[2000] ^= 255  # within the first array's pixels
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(SourceError, match=r"not a plain array .*CRC"):
        read(tmp_path)


def test_the_real_copy_with_other_rows_is_refused_and_read_if_allowed(real_data: Path) -> None:
    with pytest.raises(SourceError, match="md5 f5b994ec7c2fe8bc81ae15cbab7c3df8"):
        next(gray.read(real_data / "MedMNIST"))
    rows = list(gray.read(real_data / "MedMNIST", allow_unofficial=True))
    assert Counter(row.split for row in rows) == {"train": 3882, "val": 524, "test": 624}
    assert all(isinstance(row, Sample) for row in rows)
    assert len({row.labels for row in rows}) == 2
