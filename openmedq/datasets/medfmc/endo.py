"""MedFMC-endo: pictures of colonoscopies with any of four lesions (Wang et al., Scientific Data 2023).

Layout read: that of `formats/medfmc.py` with the task `endo` and figshare's `Endo/Endo_published_4d.csv`. Names and
order of the classes are those of the published tables and of openmedlab/MedFM: ulcer, erosion, polyp, tumor.

What is odd in the published files, and in the miniature:

- Multi-label, with spaces between the labels: `name.png 0 0 1 0`; four of ten pictures of trainval are all-zero rows.
- No picture of test_WithLabel shows a tumor, 108 of 929 of trainval do: its F1 on the test is not defined.
- A name begins with its study, `13333_2021.11_0003_55200268.png`, which the publishers count as one patient. No study
  is in both trainval and test_WithLabel; one is in both tests.
- The published table ends in a column without a name, which holds some studies and belongs to no row.
- The challenge's table of test_WithoutLabel has empty labels; the published table has them.
- train_20.txt and val_20.txt divide trainval.txt, and few-shot lists repeat some of it: they are named in the log.
- Two pictures that the tables name and no list does (in the miniature alone: the published lists name all 3,865).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from openmedq.datasets.card import Access, Card
from openmedq.datasets.medfmc import reader
from openmedq.schema import Groups, Rejected, Sample, Task

CLASSES = ("ulcer", "erosion", "polyp", "tumor")


def _to_groups(name: str) -> Groups:
    match = re.fullmatch(r"(\d+_\d+\.\d+_\d+)_\d+\.\w+", name)
    return Groups(patient=match[1], study=match[1]) if match else Groups()


LAYOUT = reader.Layout(
    task="endo",
    table="Endo_published_4d.csv",
    keys=("Unnamed: 0", "img_id", "study_id"),
    columns=CLASSES,
    to_groups=_to_groups,
    lists={
        "trainval": (37_160, "1d35dbd545d3a8e9c1341142f2bdfac9272d64bb5d7e6a5b8b1a90fbcea88cf0"),
        "test_WithLabel": (35_240, "2912a7a36f83ff58bf868e82c4cd69f91d5ac191d1a0136b041879c4fa638efc"),
        "test_WithoutLabel": (65_760, "2e7b9aee65772b150460afa48ec8e9c9fac7d4e31207f990df3287b6da935b74"),
    },
)

card = Card(
    id="medfmc_endo",
    kind="benchmark",
    title="Endo",
    aliases=reader.ALIASES,
    collection="MedFMC",
    homepage=reader.HOMEPAGE,
    citation=reader.CITATION,
    licence="CC-BY-4.0",
    access=Access.OPEN,
    task=Task.CLASSIFICATION,
    modality="mixed",  # endoscopy
    files=reader.list_files("Endo", LAYOUT),
    other_paths=reader.list_other_paths("Endo", LAYOUT),
    roles=reader.ROLES,
    published_rows={"trainval": 929, "test_WithLabel": 881, "test_WithoutLabel": 2055, "unlisted": 0},
    classes=CLASSES,
    is_multi_label=True,
    fitted=("trainval",),
    scored=("test_WithLabel",),
)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the pictures; SourceError where neither lists nor tables are there, or they are of another layout."""
    return reader.read(raw, card, LAYOUT)
