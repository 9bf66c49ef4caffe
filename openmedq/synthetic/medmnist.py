"""Shared by the miniatures of the MedMNIST family."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from openmedq.datasets.card import Card
from openmedq.datasets.medmnist.reader import GENERATED, SIDE_PX, SPLITS
from openmedq.synthetic.draw import generator
from openmedq.synthetic.files import save, to_zip

_ROWS, _COLUMNS = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float32)


def write_miniature(
    raw: Path,
    card: Card,
    seed: int,
    num_rows: Sequence[int],
    shares: Sequence[float],
    draw: Callable[[int, np.random.Generator], NDArray[np.uint8]],
) -> None:
    """Write the npz of a miniature, with `num_rows` per split, shares of the classes, and drawn images."""
    arrays: dict[str, NDArray[np.uint8]] = {}
    ends = np.cumsum(shares)
    for split, number in zip(SPLITS, num_rows, strict=True):
        random = generator(seed, card.id, split)
        labels = random.permutation(np.searchsorted(ends, (np.arange(number) + 0.5) / number))
        arrays[f"{split}_images"] = np.stack([draw(int(label), random) for label in labels])
        arrays[f"{split}_labels"] = labels[:, None].astype(np.uint8)
    write_npz(raw / card.files[0].path, arrays)


def write_npz(path: Path, arrays: Mapping[str, NDArray[np.uint8]]) -> None:
    """Write arrays, and the array GENERATED that marks them as generated."""
    note = np.array("a miniature, no published file")
    members = {f"{name}.npy": _to_npy(array) for name, array in (*arrays.items(), (GENERATED, note))}
    save(path, to_zip(members))  # the zip of `np.savez` depends on the version of Python


def _to_npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def paint_disc(
    field: NDArray[np.float32], color: tuple[int, int, int], row: float, column: float, radius: float
) -> NDArray[np.float32]:
    """Paint a disc with an edge of one pixel on a field (SIDE_PX, SIDE_PX, 3)."""
    distance = np.hypot(_ROWS - np.float32(row), _COLUMNS - np.float32(column))
    cover = np.clip(np.float32(radius) - distance + 0.5, 0, 1)[:, :, None]
    painted: NDArray[np.float32] = (field * (1 - cover) + np.asarray(color) * cover).astype(np.float32)
    return painted


def finish(field: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.uint8]:
    """Add noise and a smooth texture, which makes perceptual hashes differ, and convert to pixels."""
    levels = PIL.Image.fromarray(random.normal(0, 16, (6, 6)).astype(np.float32))
    texture = np.asarray(levels.resize((SIDE_PX, SIDE_PX), PIL.Image.Resampling.BICUBIC))[:, :, None]
    noise: NDArray[np.float32] = random.normal(0, 5, field.shape).astype(np.float32)
    finished: NDArray[np.uint8] = (field + texture + noise).clip(0, 255).astype(np.uint8)
    return finished
