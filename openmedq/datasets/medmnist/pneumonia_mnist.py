"""PneumoniaMNIST: chest radiographs of children, normal or pneumonia, gray (Kermany et al., 2018; Yang et al., 2023).

See `medmnist/reader.py` for the layout (https://zenodo.org/records/10519652). Numbers of rows and md5s are those of
medmnist 3.0.2. Three of four images show pneumonia.
"""

from openmedq.datasets.card import File
from openmedq.datasets.medmnist.reader import URL, make_card, make_reader, name_files

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

card = make_card(
    id="pneumonia_mnist",
    title="PneumoniaMNIST",
    citation="Yang et al., MedMNIST v2, Scientific Data 2023; Kermany et al., Cell 2018",
    modality="radiology",
    file=File(path=FILE, url=f"{URL}/{FILE}?download=1", md5=_OFFICIAL_MD5S[FILE], about_bytes=4_170_000),
    num_rows=(4708, 524, 624),
    classes=("normal", "pneumonia"),
)

read = make_reader(card, _OFFICIAL_MD5S, num_channels=1)
