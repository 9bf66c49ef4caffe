"""What the miniatures of a family of datasets share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from openmedq.datasets.card import Card
from openmedq.datasets.medmnist.reader import GENERATED, SIDE_PX, SPLITS
from openmedq.synthetic.draw import generator

_ROWS, _COLUMNS = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float32)


def write_miniature(
    path: Path,
    card: Card,
    seed: int,
    num_rows: Sequence[int],
    shares: Sequence[float],
    draw: Callable[[int, np.random.Generator], NDArray[np.uint8]],
) -> None:
    """Write the npz of a miniature, which says that it is one: rows a split, shares of the classes, their pictures."""
    arrays: dict[str, NDArray[np.uint8]] = {}
    ends = np.cumsum(shares)
    for split, number in zip(SPLITS, num_rows, strict=True):
        random = generator(seed, card.id, split)
        labels = random.permutation(np.searchsorted(ends, (np.arange(number) + 0.5) / number))
        arrays[f"{split}_images"] = np.stack([draw(int(label), random) for label in labels])
        arrays[f"{split}_labels"] = labels[:, None].astype(np.uint8)
    write_npz(path, arrays)


def write_npz(path: Path, arrays: Mapping[str, NDArray[np.uint8]]) -> None:
    """Write generated arrays, and the array that says that they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    note = np.array("a miniature, no published file")
    np.savez_compressed(path, **arrays, **{GENERATED: note})  # type: ignore[arg-type]  # members, no `allow_pickle`


def paint_disc(
    field: NDArray[np.float32], colour: tuple[int, int, int], row: float, column: float, radius: float
) -> NDArray[np.float32]:
    """The field (SIDE_PX, SIDE_PX, 3) with a disc on it, whose edge is one pixel wide."""
    distance = np.hypot(_ROWS - np.float32(row), _COLUMNS - np.float32(column))
    cover = np.clip(np.float32(radius) - distance + 0.5, 0, 1)[:, :, None]
    painted: NDArray[np.float32] = (field * (1 - cover) + np.asarray(colour) * cover).astype(np.float32)
    return painted


def finish(field: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.uint8]:
    """The field as pixels, under noise and a smooth texture that keeps the perceptual hashes of two pictures apart."""
    levels = Pictures.fromarray(random.normal(0, 16, (6, 6)).astype(np.float32))
    texture = np.asarray(levels.resize((SIDE_PX, SIDE_PX), Pictures.Resampling.BICUBIC))[:, :, None]
    noise: NDArray[np.float32] = random.normal(0, 5, field.shape).astype(np.float32)
    finished: NDArray[np.uint8] = (field + texture + noise).clip(0, 255).astype(np.uint8)
    return finished
