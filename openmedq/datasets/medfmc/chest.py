"""MedFMC-chest (ChestDR): frontal chest radiographs with any of 19 findings (Wang et al., Scientific Data 2023).

See `medfmc/reader.py` for the layout; the task is `chest`, figshare's table `ChestDR/chestdr_published_19d.csv`. Names
and order of the classes are those of the published tables and of openmedlab/MedFM. There is no patient key.

- Multi-label: `name.png 0,1,0,...`; a quarter of the images have no finding, a row of zeros.
- Five of the 19 findings occur in fewer than 20 of the 979 images of trainval.
- File names are short hexadecimal numbers or DICOM UIDs with many dots (`DX.1.2.840.113619....png`).
"""

from openmedq.datasets.medfmc import reader

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

LAYOUT, card, read = reader.define(
    task="chest",
    title="ChestDR",
    table="chestdr_published_19d.csv",
    modality="radiology",
    lists={
        "trainval": (75_762, "3fad4830de706063369d6b4be77d619c2d54d5ff9e42ae9b52844b0413b4bea5", 979),
        "test_WithLabel": (67_187, "883f0bde7848362ad85a8547c2bb3f36e71cb9ff5b96cb5894922ade4c52d338", 1_161),
        "test_WithoutLabel": (130_525, "8c64e74df7573bfe723541ee86c8d73d5a7e0d7eb82b6a865fb09de210767927", 2_708),
    },
    classes=CLASSES,
    class_names={"fracture_old": "old fracture", "TB": "tuberculosis"},
)
