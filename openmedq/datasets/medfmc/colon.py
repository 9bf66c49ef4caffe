"""MedFMC-colon (ColonPath): patches of colon slides, with or without tumor tissue (Wang et al., Scientific Data 2023).

See `medfmc/reader.py` for the layout; the task is `colon`, figshare's table `ColonPath/colonpath_published_2.csv`.
Class 1 is the tables' column `tumor`; openmedlab/MedFM names the classes negative (misspelled there) and positive.

- File names contain a space and dots, `2019-10327-1-1-1_2019-05-28 17_55_39-lv1-47692-11609-5464-5695p0026.png 0`.
- A file name states the case (not always), the time of the scan, the region of the scan (the tables' `slide_id`) and
  the patch. No region is in both trainval and test_WithLabel, but 50 of the 68 scans of trainval are.
- The label is 0 or 1. The share of tumor differs: 887 of 2,358 in trainval, 1,000 of 3,296 in test_WithLabel.
- Lists from before June 2023 have the same images in other splits; their test_WithLabel has no tumor.
"""

import re

from openmedq.datasets.medfmc import reader
from openmedq.schema import Groups

_NAME = re.compile(r"(?P<scan>(?P<case>[A-Z]?\d{4}[-_]\d{5}(?=[-_]))?.*?)-lv\d+(?:-\d+){4}p\d+\.\w+")


def _to_groups(name: str) -> Groups:
    match = _NAME.fullmatch(name)
    return Groups(patient=match["case"], study=match["scan"]) if match else Groups()


LAYOUT, card, read = reader.define(
    task="colon",
    title="ColonPath",
    table="colonpath_published_2.csv",
    modality="pathology",
    lists={
        "trainval": (165_392, "f0313d48ef1e3d479abe186be3f05a9d9b5c3105bb364f379bb4a80a63bed4b1", 2_358),
        "test_WithLabel": (233_418, "4c7e7372867b91a41ce5c31d11170bb0c4a423986cc153f7edb72d1a2609b48c", 3_296),
        "test_WithoutLabel": (298_913, "a53da93527b5f53a1da117ed23d8d3c17a782effc12079830ddb961838c69137", 4_355),
    },
    classes=("negative", "positive"),
    class_names={"negative": "tissue without tumor", "positive": "tumor tissue"},
    columns=("tumor",),
    to_groups=_to_groups,
)
