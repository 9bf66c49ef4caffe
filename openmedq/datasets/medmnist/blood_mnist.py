"""BloodMNIST: microscope images of single blood cells, eight classes, RGB (Acevedo et al., 2020; Yang et al., 2023).

See `medmnist/reader.py` for the layout (https://zenodo.org/records/10519652). Class names, numbers of rows and md5s are
those of medmnist 3.0.2. The classes have unequal sizes. One class name contains commas and has no space before its
parenthesis.
"""

from openmedq.datasets.medmnist.reader import define

card, read = define(
    id="blood_mnist",
    title="BloodMNIST",
    citation="Yang et al., MedMNIST v2, Scientific Data 2023; Acevedo et al., Data in Brief 2020",
    modality="microscopy",
    num_rows=(11_959, 1_712, 3_421),
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
    class_names={
        "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)": "immature granulocyte",
    },
    num_channels=3,
    md5s=(
        "7053d0359d879ad8a5505303e11de1dc",
        "2b94928a2ae4916078ca51e05b6b800b",
        "adace1e0ed228fccda1f39692059dd4c",
        "b718ff6835fcbdb22ba9eacccd7b2601",
    ),
    size_bytes=35_461_855,
    sha256="062023e186f537e26b3c21ea3b2614ddfc475e8a14825dfd20663bbb7e37bddc",
)
