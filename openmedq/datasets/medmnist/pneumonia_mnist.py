"""PneumoniaMNIST: chest radiographs of children, normal or pneumonia, gray (Kermany et al., 2018; Yang et al., 2023).

See `medmnist/reader.py` for the layout (https://zenodo.org/records/10519652). Numbers of rows and md5s are those of
medmnist 3.0.2. Three of four images show pneumonia.
"""

from openmedq.datasets.medmnist.reader import define

card, read = define(
    id="pneumonia_mnist",
    title="PneumoniaMNIST",
    citation="Yang et al., MedMNIST v2, Scientific Data 2023; Kermany et al., Cell 2018",
    modality="radiology",
    num_rows=(4708, 524, 624),
    classes=("normal", "pneumonia"),
    num_channels=1,
    md5s=(
        "28209eda62fecd6e6a2d98b1501bb15f",
        "8f4eceb4ccffa70c672198ea285246c6",
        "05b46931834c231683c68f40c47b2971",
        "d6a3c71de1b945ea11211b03746c1fe1",
    ),
    about_bytes=4_170_000,
)
