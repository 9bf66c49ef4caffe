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

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.medmnist.reader import ALIASES, SPLITS, URL, name_files, read_npz
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
    kind="benchmark",
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
