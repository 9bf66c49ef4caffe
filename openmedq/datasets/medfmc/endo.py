"""MedFMC-endo: colonoscopy images with any of four lesions (Wang et al., Scientific Data 2023).

See `medfmc/reader.py` for the layout; the task is `endo`, figshare's table `Endo/Endo_published_4d.csv`. Names and
order of the classes are those of the published tables and of openmedlab/MedFM: ulcer, erosion, polyp, tumor.

- Multi-label, with spaces between the labels: `name.png 0 0 1 0`; four of ten images of trainval have rows of zeros.
- 108 of the 929 images of trainval show a tumor, but none of test_WithLabel, so its F1 score is undefined there.
- A file name begins with its study, `13333_2021.11_0003_55200268.png`, which the publishers count as one patient. No
  study is in both trainval and test_WithLabel; one study is in both test splits.
"""

import re

from openmedq.datasets.medfmc import reader
from openmedq.schema import Groups

CLASSES = ("ulcer", "erosion", "polyp", "tumor")


def _to_groups(name: str) -> Groups:
    match = re.fullmatch(r"(\d+_\d+\.\d+_\d+)_\d+\.\w+", name)
    return Groups(patient=match[1], study=match[1]) if match else Groups()


LAYOUT, card, read = reader.define(
    task="endo",
    title="Endo",
    table="Endo_published_4d.csv",
    modality="mixed",  # endoscopy
    lists={
        "trainval": (37_160, "1d35dbd545d3a8e9c1341142f2bdfac9272d64bb5d7e6a5b8b1a90fbcea88cf0", 929),
        "test_WithLabel": (35_240, "2912a7a36f83ff58bf868e82c4cd69f91d5ac191d1a0136b041879c4fa638efc", 881),
        "test_WithoutLabel": (65_760, "2e7b9aee65772b150460afa48ec8e9c9fac7d4e31207f990df3287b6da935b74", 2_055),
    },
    classes=CLASSES,
    to_groups=_to_groups,
)
