"""CXR8: the NIH's chest radiographs, with findings mined from their reports (Wang et al., ChestX-ray8, CVPR 2017).

The dataset grew from eight findings to fourteen; it is also named ChestX-ray8 and ChestX-ray14. Layout, as published at
https://nihcc.app.box.com/v/ChestXray-NIHCC:

- `Data_Entry_2017_v2020.csv`, or the older `Data_Entry_2017.csv`: a row per image, findings separated by `|`.
- `train_val_list.txt` and `test_list.txt`: one image name per line.
- `images_001.tar.gz` to `images_012.tar.gz`, read in place; or unpacked in `images/`, in Kaggle's
  `images_001/images/` and so on, or beside the table. Hugging Face has zips. Archives may be in `images/`.

These files may be up to two folders deeper, or where kagglehub unpacks them. Rows come in the order of the images, see
`readers/joined_images.py`. Images in neither list, or all images if there are no lists, get the split `unlisted`, which
transfer does not use.
`BBox_List_2017.csv` (boxes of 984 findings) is not read.

- Two column names contain a comma, so that the header has two columns each: `OriginalImage[Width` and `Height]`,
  `OriginalImagePixelSpacing[x` and `y]`.
- In some versions, header or rows end with a comma. The column is `Patient Gender` or `Patient Sex`.
- `No Finding` is listed like a finding but is not a class: such a row has no label.
- Some ages are impossible (411); they are kept.
- A few images are RGBA, the others gray.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import (
    Content,
    Record,
    Unusable,
    keep,
    list_absent,
    represent,
    take_optional_text,
    take_text,
)
from openmedq.datasets.readers import ARCHIVE_SUFFIXES, find_files_below, not_found, use_first, warn_absent
from openmedq.datasets.readers.joined_images import join_images, take_image
from openmedq.datasets.readers.tables import stream_lines, stream_table
from openmedq.errors import SourceError
from openmedq.schema import Groups, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.folders import find_all, walk

HOMEPAGE = "https://nihcc.app.box.com/v/ChestXray-NIHCC"
_DOWNLOAD = "https://nihcc.app.box.com/index.php?rm=box_download_shared_file&vanity_name=ChestXray-NIHCC"
TABLE, OLD_TABLE = "Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv"
LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}
ARCHIVES = tuple(f"images_{number:03}.tar.gz" for number in range(1, 13))
_SHARED = (  # by archive: id on Box, size in bytes, and the md5 in the NIH's FAQ_CHESTXRAY.pdf
    ("vfk49d74nhbxq3nqjg0900w5nvkorp5c", 2_008_470_987, "fe8ed0a6961412fddcbb3603c11b3698"),
    ("i28rlmbvmfjbl8p2n3ril0pptcmcu9d1", 3_952_623_504, "ab07a2d7cbe6f65ddd97b4ed7bde10bf"),
    ("f1t00wrtdk94satdfb9olcolqx20z2jp", 3_929_234_850, "2301d03bde4c246388bad3876965d574"),
    ("0aowwzs5lhjrceb3qp67ahp0rd1l1etg", 3_838_903_983, "9f1b7f5aae01b13f4bc8e2c44a4b8ef6"),
    ("v5e3goj22zr6h8tzualxfsqlqaygfbsn", 3_935_496_531, "1861f3cd0ef7734df8104f2b0309023b"),
    ("asi7ikud9jwnkrnkj99jnpfkjdes7l6l", 3_986_301_172, "456b53a8b351afd92a35bc41444c58c8"),
    ("jn1b4mw4n6lnh74ovmcjb8y48h8xj07n", 4_016_328_426, "1075121ea20a137b87f290d6a4a5965e"),
    ("tvpxmn7qyrgl0w8wfh9kqfjskv6nmm1j", 4_018_347_353, "b61f34cec3aa69f295fbb593cbd9d443"),
    ("upyy3ml7qdumlgk2rfcvlb9k6gvqq2pj", 4_111_327_929, "442a3caa61ae9b64e61c561294d1e183"),
    ("l6nilvfa9cg3s28tqv1qc1olm3gnz54p", 4_181_556_296, "09ec81c4c31e32858ad8cf965c494b74"),
    ("hhq8fkdgvcari67vfhs7ppg2w6ni4jze", 4_187_084_020, "499aefc67207a5a97692424cf5dbeed5"),
    ("ioqwiy20ihqwyr8pf4c24eazhh281pbu", 2_914_187_733, "dc9fda1757c2de0032b63347a7d2895c"),
)
_TABLES = (  # file number on Box, size in bytes, sha256
    (TABLE, 219760887468, 9_003_496, "c69a6daca3549af707ca9cacbdf9f9a7b6a9188e8c61157df653520bb72d8eb1"),
    (LISTS["train_val"], 256056636701, 1_470_907, "61fbe896321c1c1c8b75f3e4f3a08e4fef6486d95ef8a667c31d4d60dca6cb81"),
    (LISTS["test"], 256055473534, 435_131, "38ca5ef7f756092946f57c1a59faca882ed589a1ab1f72590b45dc06c6d5e1cc"),
)
NO_FINDING = "No Finding"
# In the order of the paper: the eight classes of its first version, then those added later.
CLASSES = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
    *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
)

card = Card(
    id="cxr8",
    kind="benchmark",
    title="NIH-ChestXray14",
    aliases=(
        *("NIHCC", "NIHCC/CXR8", "ChestXray-NIHCC", "ChestX-ray8"),
        *("ChestX-ray14", "NIH Chest X-Rays", "alkzar90/NIH-Chest-X-ray-dataset"),
    ),
    homepage=HOMEPAGE,
    citation="Wang et al., ChestX-ray8: Hospital-scale chest X-ray database and benchmarks, CVPR 2017",
    licence="LicenseRef-NIH-ChestXray",  # "unrestricted"; see `licences` for the three requests that come with it
    access=Access.OPEN,
    task=Task.CLASSIFICATION,
    modality="radiology",
    files=(
        *(
            File(path=name, url=f"{_DOWNLOAD}&file_id=f_{number}", size_bytes=size_bytes, sha256=sha256)
            for name, number, size_bytes, sha256 in _TABLES
        ),
        *(
            File(path=name, url=f"https://nihcc.box.com/shared/static/{key}.gz", size_bytes=size_bytes, md5=md5)
            for name, (key, size_bytes, md5) in zip(ARCHIVES, _SHARED, strict=True)
        ),
    ),
    roles=dict.fromkeys((*LISTS, "unlisted"), Role.EVALUATION),
    published_rows={"train_val": 86_524, "test": 25_596, "unlisted": 0},
    classes=CLASSES,
    class_names={"Effusion": "pleural effusion", "Edema": "pulmonary edema"},
    is_multi_label=True,
    fitted=("train_val",),
    scored=("test",),
)

_NEEDED = ("Image Index", "Finding Labels", "Patient ID")
_ATTRIBUTES = {
    "Follow-up #": "follow_up",
    "Patient Age": "patient_age",
    "Patient Gender": "patient_gender",
    "Patient Sex": "patient_gender",
    "View Position": "view_position",
    "OriginalImage[Width": "original_width",
    "Height]": "original_height",
    "OriginalImagePixelSpacing[x": "pixel_spacing_x",
    "y]": "pixel_spacing_y",
}
_FILE_NAME = re.compile(r"[\w-][\w.-]*")


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the images; SourceError if the table is absent, or a list or an archive is damaged."""
    tables = find_files_below(raw, TABLE, OLD_TABLE)
    if not tables:
        raise not_found(card, raw, f"`{TABLE}`")
    table = use_first(tables)
    splits = _read_lists(table.parent)
    seen: dict[str, str] = {}
    yield from represent(
        card,
        join_images(
            stream_table(table, _NEEDED), "Image Index", _list_images(table.parent), _list_archives(table.parent)
        ),
        unit="line",
        raw=raw,
        path=table,
        identify=lambda _, record: _identify(record, splits),
        build=_build,
        seen=seen,
    )
    for split, name in LISTS.items():
        absent = [image for image, its_split in splits.items() if its_split == split and image not in seen]
        yield from list_absent(card, absent, split=split, raw=raw, path=table.parent / name)


def _identify(record: Record, splits: dict[str, str]) -> tuple[str, str]:
    name = take_text(record, "Image Index")
    if not _FILE_NAME.fullmatch(name):
        raise Unusable(Reason.FIELD_MISSING, "field `Image Index` is not a file name")
    return name, splits.get(name, "unlisted")


def _build(record: Record, split: str) -> Content:
    findings = [name.strip() for name in take_text(record, "Finding Labels", empty=Reason.ANSWER_EMPTY).split("|")]
    if not set(findings) <= {*card.classes, NO_FINDING}:
        raise Unusable(Reason.ANSWER_NOT_AN_OPTION, "field `Finding Labels` has a finding that is not a class")
    if NO_FINDING in findings and set(findings) != {NO_FINDING}:
        raise Unusable(Reason.ANSWER_NOT_AN_OPTION, f"field `Finding Labels` has `{NO_FINDING}` and a finding")
    image = take_image(record, take_text(record, "Image Index"))
    labels = tuple(name for name in card.classes if name in findings)
    attributes = {
        attribute: take_optional_text(record, name) for name, attribute in _ATTRIBUTES.items() if name in record
    }
    return {
        "turns": (Turn("", ", ".join(labels) or NO_FINDING),),
        "images": (image,),
        "groups": Groups(patient=take_optional_text(record, "Patient ID") or None),
        "labels": labels,
        "attributes": keep(**attributes),
    }


def _list_images(folder: Path) -> Iterator[Path]:
    for place in find_all(folder, "images*/"):
        for inner, _, files in walk(place):
            yield from (inner / name for name in sorted(files) if name.lower().endswith(".png"))
    yield from find_all(folder, "*.[pP][nN][gG]")


def _list_archives(folder: Path) -> list[Path]:
    paths = [path for pattern in ("images*", "images/images*") for path in find_all(folder, pattern)]
    return sorted(path for path in paths if path.is_file() and path.name.lower().endswith(ARCHIVE_SUFFIXES))


def _read_lists(folder: Path) -> dict[str, str]:
    """Return the split of each image name; a name in both lists gets the test split."""
    splits: dict[str, str] = {}
    for split, name in LISTS.items():
        path = folder / name
        if not path.is_file():
            warn_absent(card.id, name, split)  # its images get the split `unlisted`
            continue
        names = [PurePosixPath(line.strip()).name for _, line in stream_lines(path)]
        if not any(name.endswith(".png") for name in names):
            raise SourceError(f"{path}: not a list of images; expected one file name per line, get the file again")
        splits |= dict.fromkeys(names, split)
    return splits
