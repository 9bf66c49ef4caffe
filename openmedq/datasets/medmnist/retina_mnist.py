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

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.medmnist.reader import ALIASES, SPLITS, URL, name_files, read_npz
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
    kind="benchmark",
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
