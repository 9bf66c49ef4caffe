"""MedFMC-colon, also ColonPath: patches of colon slides, with tumor tissue or without (Wang et al., Sci Data 2023).

Layout read: that of `formats/medfmc.py` with the task `colon` and figshare's `ColonPath/colonpath_published_2.csv`.
Class 1 is the tables' column `tumor`; openmedlab/MedFM calls the classes negative (there misspelt) and positive.

What is odd in the published files, and in the miniature:

- File names with a space and dots in them, `2019-10327-1-1-1_2019-05-28 17_55_39-lv1-47692-11609-5464-5695p0026.png 0`.
- A name tells the case (not always), the scan's time, the region of the scan (the tables' `slide_id`) and the patch.
  No region is in both trainval and test_WithLabel, but 50 of 68 scans of trainval are: the split is by region.
- A single label, 0 or 1; the share of tumor differs: 887 of 2,358 in trainval, 1,000 of 3,296 in test_WithLabel.
- The challenge's table of test_WithoutLabel has empty labels; the published table has them.
- train_20.txt and val_20.txt divide trainval.txt, and few-shot lists repeat some of it: they are named in the log.
- Two pictures that the tables name and no list does (in the miniature alone: the published lists name all 10,009).

Lists from before June 2023 hold the same pictures, divided otherwise: test_WithLabel had no tumor at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from openmedq.datasets.card import Access, Card
from openmedq.datasets.medfmc import reader
from openmedq.schema import Groups, Rejected, Sample, Task

_NAME = re.compile(r"(?P<scan>(?P<case>[A-Z]?\d{4}[-_]\d{5}(?=[-_]))?.*?)-lv\d+(?:-\d+){4}p\d+\.\w+")


def _to_groups(name: str) -> Groups:
    match = _NAME.fullmatch(name)
    return Groups(patient=match["case"], study=match["scan"]) if match else Groups()


LAYOUT = reader.Layout(
    task="colon",
    table="colonpath_published_2.csv",
    keys=("slide_id", "img_id"),
    columns=("tumor",),
    to_groups=_to_groups,
    lists={
        "trainval": (165_392, "f0313d48ef1e3d479abe186be3f05a9d9b5c3105bb364f379bb4a80a63bed4b1"),
        "test_WithLabel": (233_418, "4c7e7372867b91a41ce5c31d11170bb0c4a423986cc153f7edb72d1a2609b48c"),
        "test_WithoutLabel": (298_913, "a53da93527b5f53a1da117ed23d8d3c17a782effc12079830ddb961838c69137"),
    },
)

card = Card(
    id="medfmc_colon",
    kind="benchmark",
    title="ColonPath",
    aliases=reader.ALIASES,
    collection="MedFMC",
    homepage=reader.HOMEPAGE,
    citation=reader.CITATION,
    licence="CC-BY-4.0",
    access=Access.OPEN,
    task=Task.CLASSIFICATION,
    modality="pathology",
    files=reader.list_files("ColonPath", LAYOUT),
    other_paths=reader.list_other_paths("ColonPath", LAYOUT),
    roles=reader.ROLES,
    published_rows={"trainval": 2358, "test_WithLabel": 3296, "test_WithoutLabel": 4355, "unlisted": 0},
    classes=("negative", "positive"),
    fitted=("trainval",),
    scored=("test_WithLabel",),
)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the patches; SourceError where neither lists nor tables are there, or they are of another layout."""
    return reader.read(raw, card, LAYOUT)
