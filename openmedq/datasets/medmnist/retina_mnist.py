"""RetinaMNIST: fundus photographs, graded for diabetic retinopathy, RGB (Liu et al., 2022; Yang et al., 2023).

See `medmnist/reader.py` for the layout (https://zenodo.org/records/10519652). Numbers of rows and md5s are those of
medmnist 3.0.2. The classes are the grades 0 to 4; their names are those of the international scale (Wilkinson et al.,
2003), by which DeepDRiD grades. MedMNIST scores them as an ordinal regression; here they are five classes. Almost half
of the images have grade 0, very few have grade 4.
"""

from openmedq.datasets.medmnist.reader import define

card, read = define(
    id="retina_mnist",
    title="RetinaMNIST",
    citation="Yang et al., MedMNIST v2, Scientific Data 2023; Liu et al., DeepDRiD, Patterns 2022",
    modality="mixed",  # photographs have no modality of their own
    num_rows=(1_080, 120, 400),
    classes=("0", "1", "2", "3", "4"),
    class_names={
        "0": "no diabetic retinopathy",
        "1": "mild nonproliferative diabetic retinopathy",
        "2": "moderate nonproliferative diabetic retinopathy",
        "3": "severe nonproliferative diabetic retinopathy",
        "4": "proliferative diabetic retinopathy",
    },
    num_channels=3,
    md5s=(
        "bd4c0672f1bba3e3a89f0e4e876791e4",
        "afda852cc34dcda56f86ad2b2457dbcc",
        "e48e916a24454daf90583d4e6efb1a18",
        "eae7e3b6f3fcbda4ae613ebdcbe35348",
    ),
    about_bytes=3_290_000,
)
