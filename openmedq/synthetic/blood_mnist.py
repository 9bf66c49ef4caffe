"""The generated miniature of BloodMNIST."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openmedq.datasets.medmnist.blood_mnist import card
from openmedq.datasets.medmnist.reader import SIDE_PX
from openmedq.synthetic.medmnist import finish, paint_disc, write_miniature


class _Kind(NamedTuple):
    """Appearance of the cells of one class: lengths in px, colors in RGB."""

    radius: float
    body: tuple[int, int, int]
    num_lobes: int  # of the nucleus
    lobe_radius: float


_KINDS = (  # in the order of the classes
    _Kind(9, (110, 80, 170), 2, 5.0),
    _Kind(9, (235, 150, 110), 2, 3.5),
    _Kind(7, (200, 180, 190), 1, 3.5),
    _Kind(12, (190, 160, 215), 1, 7.0),
    _Kind(7, (150, 180, 235), 1, 6.0),
    _Kind(12, (165, 175, 200), 2, 5.5),
    _Kind(10, (220, 170, 190), 3, 3.0),
    _Kind(4, (180, 120, 190), 0, 0.0),
)
_SHARES = (0.07, 0.18, 0.09, 0.17, 0.07, 0.08, 0.2, 0.14)  # similar to the published shares


def write(raw: Path, seed: int = 0) -> None:
    """Write the npz with 100, 16 and 40 cells, which differ in size, color and nucleus."""
    write_miniature(raw, card, seed, (100, 16, 40), _SHARES, _draw)


def _draw(label: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a cell on a pale background, (SIDE_PX, SIDE_PX, 3)."""
    kind = _KINDS[label]
    field = np.full((SIDE_PX, SIDE_PX, 3), (225, 210, 205), np.float32)
    row, column = SIDE_PX / 2 - 0.5 + random.uniform(-1.5, 1.5, 2)
    field = paint_disc(field, kind.body, row, column, kind.radius + random.uniform(-0.7, 0.7))
    turn = random.uniform(0, 2 * np.pi)
    distance = 0.0 if kind.num_lobes == 1 else 0.5 * kind.radius
    for lobe in range(kind.num_lobes):
        angle = turn + 2 * np.pi * lobe / kind.num_lobes
        place = row + distance * np.sin(angle), column + distance * np.cos(angle)
        field = paint_disc(field, (85, 45, 130), *place, kind.lobe_radius)
    return finish(field, random)
