"""MedFMC-chest, also ChestDR: frontal chest radiographs with any of 19 findings (Wang et al., Scientific Data 2023).

Layout read: that of `formats/medfmc.py` with the task `chest` and figshare's `ChestDR/chestdr_published_19d.csv`.
Names and order of the classes are those of the published tables and of openmedlab/MedFM. The set has no patient key.

What is odd in the published files, and in the miniature:

- Multi-label: `name.png 0,1,0,...`; a quarter of the pictures has no finding at all, an all-zero row.
- Rare findings: five of the 19 are on fewer than 20 of 979 pictures of trainval (in the miniature fourteen are rare).
- Two kinds of file names: short hexadecimal ones, and DICOM UIDs full of dots (`DX.1.2.840.113619....png`).
- The labels of test_WithoutLabel stand in the table that was published later; the challenge's table has them empty.
- Labels are 0.0 and 1.0 in the challenge's tables, 0 and 1 elsewhere; the tables' row numbers have gaps.
- train_20.txt and val_20.txt divide trainval.txt, and few-shot lists repeat some of it: they are named in the log.
- Two pictures that the tables name and no list does (in the miniature alone: the published lists name all 4,848).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from openmedq.datasets.card import Access, Card
from openmedq.datasets.medfmc import reader
from openmedq.schema import Groups, Rejected, Sample, Task

CLASSES = (
    "pleural_effusion",
    "nodule",
    "pneumonia",
    "cardiomegaly",
    "hilar_enlargement",
    "fracture_old",
    "fibrosis",
    "aortic_calcification",
    "tortuous_aorta",
    "thickened_pleura",
    "TB",
    "pneumothorax",
    "emphysema",
    "atelectasis",
    "calcification",
    "pulmonary_edema",
    "increased_lung_markings",
    "elevated_diaphragm",
    "consolidation",
)

LAYOUT = reader.Layout(
    task="chest",
    table="chestdr_published_19d.csv",
    keys=("Unnamed: 0", "img_id"),
    columns=CLASSES,
    to_groups=lambda _: Groups(),
    lists={
        "trainval": (75_762, "3fad4830de706063369d6b4be77d619c2d54d5ff9e42ae9b52844b0413b4bea5"),
        "test_WithLabel": (67_187, "883f0bde7848362ad85a8547c2bb3f36e71cb9ff5b96cb5894922ade4c52d338"),
        "test_WithoutLabel": (130_525, "8c64e74df7573bfe723541ee86c8d73d5a7e0d7eb82b6a865fb09de210767927"),
    },
)

card = Card(
    id="medfmc_chest",
    kind="benchmark",
    title="ChestDR",
    aliases=reader.ALIASES,
    collection="MedFMC",
    homepage=reader.HOMEPAGE,
    citation=reader.CITATION,
    licence="CC-BY-4.0",
    access=Access.OPEN,
    task=Task.CLASSIFICATION,
    modality="radiology",
    files=reader.list_files("ChestDR", LAYOUT),
    other_paths=reader.list_other_paths("ChestDR", LAYOUT),
    roles=reader.ROLES,
    published_rows={"trainval": 979, "test_WithLabel": 1161, "test_WithoutLabel": 2708, "unlisted": 0},
    classes=CLASSES,
    is_multi_label=True,
    fitted=("trainval",),
    scored=("test_WithLabel",),
)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the pictures; SourceError where neither lists nor tables are there, or they are of another layout."""
    return reader.read(raw, card, LAYOUT)
