"""BloodMNIST: single blood cells under the microscope, eight kinds, RGB (Acevedo et al., 2020; Yang et al., 2023).

Layout read, as published on Zenodo: `bloodmnist.npz` (28 x 28 px), or where that is absent one of the larger
`bloodmnist_{64,128,224}.npz`; see `formats/medmnist.py`, also for what becomes of a file that is not the publisher's.
Class names, counts and md5s are those of medmnist 3.0.2.

What is odd in the published file, and in the miniature:

- One class has a name with commas, and no space before its parenthesis.
- Classes are of unequal size.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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

FILE = "bloodmnist.npz"

_OFFICIAL_MD5S = name_files(
    "bloodmnist",
    {
        28: "7053d0359d879ad8a5505303e11de1dc",
        64: "2b94928a2ae4916078ca51e05b6b800b",
        128: "adace1e0ed228fccda1f39692059dd4c",
        224: "b718ff6835fcbdb22ba9eacccd7b2601",
    },
)

card = Card(
    id="blood_mnist",
    title="BloodMNIST",
    aliases=ALIASES,
    collection="MedMNIST",
    homepage="https://medmnist.com/",
    citation="Yang et al., MedMNIST v2, Scientific Data 2023; Acevedo et al., Data in Brief 2020",
    licence="CC-BY-4.0",
    access=Access.OPEN,
    task=Task.CLASSIFICATION,
    modality="microscopy",
    files=(
        File(
            path=FILE,
            url=f"{URL}/{FILE}?download=1",
            size_bytes=35_461_855,
            sha256="062023e186f537e26b3c21ea3b2614ddfc475e8a14825dfd20663bbb7e37bddc",
            md5=_OFFICIAL_MD5S[FILE],
        ),
    ),
    roles=dict.fromkeys(SPLITS, Role.EVALUATION),  # the splits are the benchmark's own; the mix trains on none
    published_rows={"train": 11_959, "val": 1_712, "test": 3_421},
    classes=(
        "basophil",
        "eosinophil",
        "erythroblast",
        "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    ),
    fitted=("train",),
    scored=("test",),
)


def read(raw: Path, allow_unofficial: bool = False) -> Iterator[Sample | Rejected]:
    """Stream the pictures as PNG; SourceError where the file is absent, cut, other than published, or another's."""
    yield from read_npz(raw, card, _OFFICIAL_MD5S, num_channels=3, allow_unofficial=allow_unofficial)


# The miniature --------------------------------------------------------------------------------------------------------


class _Kind(NamedTuple):
    """What a cell of one class looks like: lengths in px, colours in RGB."""

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
_SHARES = (0.07, 0.18, 0.09, 0.17, 0.07, 0.08, 0.2, 0.14)  # about as published


def miniature(raw: Path, seed: int = 0) -> None:
    """Write the npz with 100, 16 and 40 drawn cells, told apart by size, colour and nucleus."""
    write_miniature(raw / FILE, card, seed, (100, 16, 40), _SHARES, _draw)


def _draw(label: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """A cell on a pale ground, (SIDE_PX, SIDE_PX, 3)."""
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
