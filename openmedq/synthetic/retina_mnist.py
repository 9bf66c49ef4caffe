"""The generated miniature of RetinaMNIST."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openmedq.datasets.medmnist.reader import SIDE_PX
from openmedq.datasets.medmnist.retina_mnist import card
from openmedq.synthetic.medmnist import finish, paint_disc, write_miniature

_SHARES = (0.45, 0.12, 0.19, 0.18, 0.06)  # similar to the published shares


def write(raw: Path, seed: int = 0) -> None:
    """Write the npz with 100, 16 and 40 eyes; the number of exudates increases with the grade."""
    write_miniature(raw, card, seed, (100, 16, 40), _SHARES, _draw)


def _draw(grade: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw an orange disc with a bright papilla and pale spots, (SIDE_PX, SIDE_PX, 3)."""
    field = np.full((SIDE_PX, SIDE_PX, 3), 30, np.float32)
    middle = SIDE_PX / 2 - 0.5
    field = paint_disc(field, (185, 80, 35), middle, middle, 13)
    side = random.choice([-1, 1])  # left eye or right eye
    field = paint_disc(field, (250, 220, 150), middle + random.uniform(-1, 1), middle + side * 8, 2.5)
    for number in range(3 * grade):  # evenly around the center, so that spots do not overlap
        angle = 2 * np.pi * (number / (3 * grade) + random.uniform(-0.02, 0.02))
        distance = random.uniform(4, 5.5) if number % 2 else random.uniform(7.5, 9.5)
        field = paint_disc(
            field, (225, 220, 90), middle + distance * np.sin(angle), middle + distance * np.cos(angle), 1.2
        )
    return finish(field, random)
