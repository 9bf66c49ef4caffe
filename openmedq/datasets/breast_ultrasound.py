"""BUSI: breast ultrasound images, benign, malignant or normal (Al-Dhabyani et al., 2020).

The OpenMedQ paper calls it Breast-Ultrasound. Layout, as published at
https://scholar.cu.edu.eg/?q=afahmy/pages/dataset: `Dataset_BUSI_with_GT/` with the folders `benign/`, `malignant/` and
`normal/`, which are the labels; unpacked (with or without the outer folder) or in a zip, up to two folders deeper. A
zip beside the folders provides images that they lack. There are no splits and no keys of patients or studies, so
transfer divides the dataset by groups of near duplicates.

- Masks are beside the images, `benign (1)_mask.png`, several if there are several lesions (`_mask_1.png`). They are
  only counted; a mask without its image is a rejected row.
- File names contain spaces and parentheses and are numbered from 1; rows are in the order of the numbers.
- Some images occur under several names, a few as both benign and malignant; each is a row.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import Content, Record, Unusable, represent, to_line
from openmedq.datasets.readers import list_files, not_found, use_first
from openmedq.schema import Image, Provenance, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.archives import Members, open_members
from openmedq.storage.lookup import open_spare

FOLDER = "Dataset_BUSI_with_GT"
CLASSES = ("benign", "malignant", "normal")

card = Card(
    id="breast_ultrasound",
    kind="benchmark",
    title="BUSI",
    aliases=(
        *("Dataset_BUSI", "Dataset_BUSI_with_GT"),
        *("Breast-Ultrasound", "aryashah2k/breast-ultrasound-images-dataset"),
    ),
    homepage="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    citation="Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 2020",
    licence="not stated with the files; the article is CC-BY-4.0",
    access=Access.OPEN,
    task=Task.CLASSIFICATION,
    modality="radiology",
    files=(File(path="Dataset_BUSI.zip", url="https://scholar.cu.edu.eg/Dataset_BUSI.zip"),),
    roles={"all": Role.EVALUATION},
    published_rows={"all": 780},
    advice="the certificate of its server is sometimes invalid: then download Dataset_BUSI.zip in a browser from the "
    "dataset's page, into the folder breast_ultrasound of your local data folder",
    classes=CLASSES,
    class_names={"benign": "benign tumor", "malignant": "malignant tumor", "normal": "normal breast tissue"},
)

# Class, number or name, and "_mask" of a path.
_PATH = re.compile(
    r"(?:.*/)?(benign|malignant|normal)/([^/.][^/]*?)(_mask(?:_\d+)?)?\.(?:png|jpe?g|bmp)", re.IGNORECASE | re.DOTALL
)

_log = logging.getLogger(__name__)


class _Found(NamedTuple):
    """An image or a mask in a folder or an archive."""

    place: Path | Members
    name: str  # path in `place`
    label: str
    stem: str  # file name of the image, also for a mask
    is_mask: bool

    def locate(self, raw: Path) -> Provenance:
        if isinstance(self.place, Members):
            return Provenance(self.place.path.relative_to(raw).as_posix(), to_line(self.name))
        return Provenance(to_line((self.place / self.name).relative_to(raw).as_posix()), "the picture")

    def read(self) -> Image:
        image_id = PurePosixPath(self.name).name
        if isinstance(self.place, Members):
            return Image(image_id, data=self.place.read(self.name))
        return Image(image_id, path=self.place / self.name)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the images class by class; SourceError if there is no folder of a class, or the zip is damaged."""
    files = list_files(raw)
    names: dict[Path, list[str]] = {}  # by the folder that contains those of the classes
    for path in sorted(files, key=lambda path: (len(path.parts), path)):
        names.setdefault(path.parent.parent, []).append(f"{path.parent.name}/{path.name}")
    unpacked = {home: found for home, inner in names.items() if (found := _find(home, inner))}
    with ExitStack() as stack:
        packed: list[_Found] = []
        for archive in (path for path in files if path.suffix.lower() == ".zip"):
            if packed:
                _log.info("%s: not read: another archive is used", archive)
                continue
            members = stack.enter_context((open_spare if unpacked else open_members)(archive))
            packed = _find(members, members.names) if members else []
        if not unpacked and not packed:
            raise not_found(card, raw, f"images in `{FOLDER}/{{{','.join(CLASSES)}}}`, unpacked or in a zip")
        found = packed + (unpacked[use_first(list(unpacked))] if unpacked else [])
        by_name = {f"{each.label}/{PurePosixPath(each.name).name}": each for each in found}  # unpacked before packed
        records = _group(raw, by_name.values())
        yield from represent(card, records, raw=raw, path=raw / FOLDER, identify=_identify, build=_build, seen={})


def _find(place: Path | Members, names: Iterable[str]) -> list[_Found]:
    """Find the images and masks in folders of the classes; empty if there are only masks."""
    matches = [match for match in map(_PATH.fullmatch, names) if match]
    found = [_Found(place, match[0], match[1].casefold(), match[2], bool(match[3])) for match in matches]
    return found if not all(each.is_mask for each in found) else []


def _group(raw: Path, found: Iterable[_Found]) -> Iterator[tuple[Provenance, Record]]:
    """Yield a record for each image, and for each mask whose image is absent."""
    groups: dict[tuple[str, str], list[_Found]] = {}
    for each in found:
        groups.setdefault((each.label, each.stem), []).append(each)
    if missing := set(CLASSES) - {label for label, _ in groups}:
        _log.info("%s: no images of %s", raw, " or ".join(sorted(missing)))
    for label, stem in sorted(groups, key=_order):
        images = [each for each in groups[label, stem] if not each.is_mask]
        num_masks = len(groups[label, stem]) - len(images)
        for each in images or groups[label, stem][:1]:
            yield each.locate(raw), {"found": each, "num_masks": str(num_masks)}


def _order(key: tuple[str, str]) -> tuple[int, int, str]:
    """Sort by class, number and name."""
    label, stem = key
    number = re.search(r"\d{1,9}", stem)
    return CLASSES.index(label), int(number[0]) if number else 0, stem


def _identify(_: str, record: Record) -> tuple[str, str]:
    stem = record["found"].stem
    if to_line(stem) != stem:
        raise Unusable(Reason.NOT_UTF8, "the file's name is not one line of UTF-8")
    return stem, "all"


def _build(record: Record, _: str) -> Content:
    found: _Found = record["found"]
    if found.is_mask:
        raise Unusable(Reason.IMAGE_MISSING, "only its mask is there")
    return {
        "turns": (Turn("", found.label),),
        "images": (found.read(),),
        "labels": (found.label,),
        "attributes": {"num_masks": record["num_masks"]},
    }
