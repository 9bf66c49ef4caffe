"""The generated miniature of BUSI."""

from pathlib import Path

import numpy as np

from openmedq.datasets.breast_ultrasound import FOLDER, card
from openmedq.synthetic.draw import SIDE_PX, Pixels, draw, draw_figures, draw_radiograph, encode_png, generator
from openmedq.synthetic.files import save, to_zip

_SIZES = {"benign": 62, "malignant": 30, "normal": 18}


def write(raw: Path, seed: int = 0) -> None:
    """Write the zip with 110 images: a small mass is benign, a large one malignant, a normal image has none."""
    random = generator(seed, card.id, "pictures")
    figures = draw_figures(seed, card.id, 1)
    members: dict[str, bytes] = {}
    for label, size in _SIZES.items():
        masses = [figure for figure in figures if figure.is_large == (label == "malignant")]
        for number in range(1, size + 1):
            if label == "normal":
                pixels = draw_radiograph(random, has_opacity=False, side_px=SIDE_PX)
            else:
                pixels = draw(masses[number])
            height, width = SIDE_PX - random.integers(0, 9, 2)
            name = f"{FOLDER}/{label}/{label} ({number})"
            members[f"{name}.png"] = encode_png(_with_channels(pixels[:height, :width], number))
            mask = np.zeros((height, width), np.uint8)
            mask[height // 3 : height // 2, width // 3 : width // 2] = 0 if label == "normal" else 255
            for extra in ("", "_1", "_2")[: 1 + (label == "benign" and number % 20 == 0) + (number == 40)]:
                members[f"{name}_mask{extra}.png"] = encode_png(mask)
    for copied, original in (
        ("benign (12)", "benign (3)"),
        ("benign (30)", "benign (9)"),
        ("malignant (7)", "benign (5)"),
    ):
        path = f"{FOLDER}/{copied.split()[0]}/{copied}.png"
        members[path] = members[f"{FOLDER}/{original.split()[0]}/{original}.png"]

    # "benign (10)" before "benign (2)", as in the published archive
    save(raw / card.files[0].path, to_zip(dict(sorted(members.items()))))


def _with_channels(pixels: Pixels, number: int) -> Pixels:
    """Return RGB, some images as gray or RGBA."""
    if number % 10 == 0:
        return pixels
    opaque = np.full_like(pixels, 255)
    return np.stack([pixels] * 3 + [opaque] * (number % 15 == 0), axis=-1)
