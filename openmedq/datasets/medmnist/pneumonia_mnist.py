"""PneumoniaMNIST: children's chest radiographs, normal or pneumonia, gray (Yang et al., MedMNIST v2, 2023).

Layout read, as published on Zenodo: `pneumoniamnist.npz` (28 x 28 px), or where that is absent one of the larger
`pneumoniamnist_{64,128,224}.npz`; see `formats/medmnist.py`, also for what becomes of a file that is not the
publisher's. The md5s are those of medmnist 3.0.2.

What is odd in the published file, and in the miniature:

- Three of four pictures show pneumonia.
- Labels are a column, not a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.medmnist.reader import ALIASES, SPLITS, URL, name_files, read_npz
from openmedq.schema import Rejected, Role, Sample, Task

FILE = "pneumoniamnist.npz"

_OFFICIAL_MD5S = name_files(
    "pneumoniamnist",
    {
        28: "28209eda62fecd6e6a2d98b1501bb15f",
        64: "8f4eceb4ccffa70c672198ea285246c6",
        128: "05b46931834c231683c68f40c47b2971",
        224: "d6a3c71de1b945ea11211b03746c1fe1",
    },
)

card = Card(
    id="pneumonia_mnist",
    kind="benchmark",
    title="PneumoniaMNIST",
    aliases=ALIASES,
    collection="MedMNIST",
    homepage="https://medmnist.com/",
    citation="Yang et al., MedMNIST v2, Scientific Data 2023; Kermany et al., Cell 2018",
    licence="CC-BY-4.0",
    access=Access.OPEN,
    task=Task.CLASSIFICATION,
    modality="radiology",
    files=(File(path=FILE, url=f"{URL}/{FILE}?download=1", md5=_OFFICIAL_MD5S[FILE], about_bytes=4_170_000),),
    roles=dict.fromkeys(SPLITS, Role.EVALUATION),  # the splits are the benchmark's own; the mix trains on none
    published_rows={"train": 4708, "val": 524, "test": 624},
    classes=("normal", "pneumonia"),
    fitted=("train",),
    scored=("test",),
)


def read(raw: Path, allow_unofficial: bool = False) -> Iterator[Sample | Rejected]:
    """Stream the pictures as PNG; SourceError where the file is absent, cut, other than published, or another's."""
    yield from read_npz(raw, card, _OFFICIAL_MD5S, num_channels=1, allow_unofficial=allow_unofficial)
