"""The generated miniature of CXR8."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PixelImage

from openmedq.datasets.cxr8 import ARCHIVES, CLASSES, LISTS, NO_FINDING, TABLE, card
from openmedq.synthetic.draw import SIDE_PX, draw, draw_radiograph, encode_png, generator, shared_figure
from openmedq.synthetic.files import join, save, to_tar_gz

_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
_NUM_PATIENTS = {"train_val": 38, "test": 16, "unlisted": 1}
_PLACES = [(16 + 20 * (index // 4), 18 + 20 * (index % 4)) for index in range(14)]  # of the marks of the classes, in px


def write(raw: Path, seed: int = 0) -> None:
    """Write the table with about 140 rows, both lists and twelve archives; each finding has a mark at its own place."""
    random = generator(seed, card.id)
    patients = np.sort(random.choice(np.arange(1, 30_806), sum(_NUM_PATIENTS.values()), replace=False))
    splits = random.permutation(np.repeat(list(_NUM_PATIENTS), list(_NUM_PATIENTS.values())))
    rows: dict[str, str] = {}
    images: dict[str, bytes] = {}
    names: dict[str, list[str]] = {split: [] for split in _NUM_PATIENTS}
    for patient, split in zip(patients.tolist(), splits.tolist(), strict=True):
        age, gender = int(random.integers(4, 90)), "MF"[random.integers(2)]
        for follow_up in range(2 + patient % 2):
            name = f"{patient:08}_{follow_up:03}.png"
            findings, pixels = _choose(len(names[split])), None
            if split == "train_val" and len(names[split]) == 2:
                findings, pixels = [CLASSES.index("Mass")], draw(shared_figure(seed))
            images[name] = encode_png(_draw(findings, random) if pixels is None else pixels)
            shown = 411 if len(rows) == 5 else age + follow_up
            labels = "|".join(CLASSES[index] for index in findings) or NO_FINDING
            view = ("PA", "AP")[random.integers(2)]
            rows[name] = f"{name},{labels},{follow_up},{patient},{shown},{gender},{view},2500,2048,0.168,0.168,"
            names[split].append(name)
    first = PixelImage.open(io.BytesIO(images[names["test"][0]]))
    images[names["test"][0]] = encode_png(np.asarray(first.convert("RGBA")))

    save(raw / TABLE, join([_HEADER, *rows.values()]))
    for split, file_name in LISTS.items():
        save(raw / file_name, join(names[split]))
    for archive, part in zip(ARCHIVES, np.array_split(list(rows), len(ARCHIVES)), strict=True):
        save(raw / archive, to_tar_gz({"images/": b"", **{f"images/{name}": images[name] for name in part.tolist()}}))


def _choose(number: int) -> list[int]:
    """Return the findings of an image in a split: none in half of the images, two in some."""
    if number % 2:
        return []
    first = number // 2 % len(card.classes)
    return sorted({first, (first + 5) % len(card.classes)}) if number % 6 == 0 else [first]


def _draw(findings: list[int], random: np.random.Generator) -> NDArray[np.uint8]:
    pixels = draw_radiograph(random, has_opacity=False, side_px=SIDE_PX).copy()
    for index in findings:
        row, column = np.asarray(_PLACES[index]) + random.integers(-2, 3, 2)
        pixels[row - 7 : row + 7, column - 7 : column + 7] = 250
    return pixels
