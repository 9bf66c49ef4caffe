"""RetinaMNIST: pictures of the eye's ground, graded for diabetic retinopathy, RGB (DeepDRiD, 2022; Yang et al., 2023).

Layout read, as published on Zenodo: `retinamnist.npz` (28 x 28 px), or where that is absent one of the larger
`retinamnist_{64,128,224}.npz`; see `formats/medmnist.py`, also for what becomes of a file that is not the publisher's.
Class names, counts and md5s are those of medmnist 3.0.2.

What is odd in the published file, and in the miniature:

- Classes are grades from 0 to 4, called by nothing but their number (MedMNIST scores them as an ordinal regression;
  here they are five classes).
- Almost half of the eyes have grade 0, hardly any have grade 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openmedq.cards import Access, Card, File
from openmedq.formats.medmnist import (
    ALIASES,
    SIDE_PX,
    SPLITS,
    URL,
    finish,
    name_files,
    paint_disc,
    read_npz,
    write_miniature,
)
from openmedq.schema import Rejected, Role, Sample, Task

FILE = "retinamnist.npz"

_OFFICIAL_MD5S = name_files(
    "retinamnist",
    {
        28: "bd4c0672f1bba3e3a89f0e4e876791e4",
        64: "afda852cc34dcda56f86ad2b2457dbcc",
        128: "e48e916a24454daf90583d4e6efb1a18",
        224: "eae7e3b6f3fcbda4ae613ebdcbe35348",
    },
)

card = Card(
    id="retina_mnist",
    title="RetinaMNIST",
    aliases=ALIASES,
    collection="MedMNIST",
    homepage="https://medmnist.com/",
    citation="Yang et al., MedMNIST v2, Scientific Data 2023; Liu et al., DeepDRiD, Patterns 2022",
    licence="CC-BY-4.0",
    access=Access.OPEN,
    task=Task.CLASSIFICATION,
    modality="mixed",  # photographs: none of the other words fits
    files=(File(path=FILE, url=f"{URL}/{FILE}?download=1", md5=_OFFICIAL_MD5S[FILE], about_bytes=3_290_000),),
    roles=dict.fromkeys(SPLITS, Role.EVALUATION),  # the splits are the benchmark's own; the mix trains on none
    published_rows={"train": 1_080, "val": 120, "test": 400},
    classes=("0", "1", "2", "3", "4"),
    fitted=("train",),
    scored=("test",),
)


def read(raw: Path, allow_unofficial: bool = False) -> Iterator[Sample | Rejected]:
    """Stream the pictures as PNG; SourceError where the file is absent, cut, other than published, or another's."""
    yield from read_npz(raw, card, _OFFICIAL_MD5S, num_channels=3, allow_unofficial=allow_unofficial)


# The miniature --------------------------------------------------------------------------------------------------------

_SHARES = (0.45, 0.12, 0.19, 0.18, 0.06)  # about as published


def miniature(raw: Path, seed: int = 0) -> None:
    """Write the npz with 100, 16 and 40 drawn eyes, the more exudates the higher the grade."""
    write_miniature(raw / FILE, card, seed, (100, 16, 40), _SHARES, _draw)


def _draw(grade: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """An orange disc with a bright papilla and pale spots, (SIDE_PX, SIDE_PX, 3)."""
    field = np.full((SIDE_PX, SIDE_PX, 3), 30, np.float32)
    middle = SIDE_PX / 2 - 0.5
    field = paint_disc(field, (185, 80, 35), middle, middle, 13)
    side = random.choice([-1, 1])  # left eye or right eye
    field = paint_disc(field, (250, 220, 150), middle + random.uniform(-1, 1), middle + side * 8, 2.5)
    for number in range(3 * grade):  # evenly around the middle, so that they do not hide one another
        angle = 2 * np.pi * (number / (3 * grade) + random.uniform(-0.02, 0.02))
        distance = random.uniform(4, 5.5) if number % 2 else random.uniform(7.5, 9.5)
        field = paint_disc(
            field, (225, 220, 90), middle + distance * np.sin(angle), middle + distance * np.cos(angle), 1.2
        )
    return finish(field, random)
