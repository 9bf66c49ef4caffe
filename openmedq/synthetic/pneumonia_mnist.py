"""The generated miniature of PneumoniaMNIST."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openmedq.datasets.medmnist.pneumonia_mnist import card
from openmedq.datasets.medmnist.reader import SIDE_PX
from openmedq.synthetic.draw import draw_radiograph
from openmedq.synthetic.medmnist import write_miniature


def write(raw: Path, seed: int = 0) -> None:
    """Write the npz with 240, 40 and 80 chests; three of four have an opacity."""

    def draw(label: int, random: np.random.Generator) -> NDArray[np.uint8]:
        return draw_radiograph(random, has_opacity=bool(label), side_px=SIDE_PX)

    write_miniature(raw, card, seed, (240, 40, 80), (0.25, 0.75), draw)
