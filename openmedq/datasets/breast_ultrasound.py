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

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import Content, Record, Unusable, represent, to_line
from openmedq.errors import SourceError
from openmedq.schema import Image, Provenance, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.archives import Members, open_members
from openmedq.storage.folders import is_junk, walk
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

_MASK = re.compile(r"(.*)_mask(?:_\d+)?", re.DOTALL)
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")

_log = logging.getLogger(__name__)


class _Found(NamedTuple):
    """An image or a mask in a folder or an archive."""

    place: Path | Members
    name: str  # path in `place`

    @property
    def label(self) -> str:
        return PurePosixPath(self.name).parent.name.casefold()

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def key(self) -> str:
        """Label and file name, which are the same in a folder and in an archive."""
        return f"{self.label}/{PurePosixPath(self.name).name}"

    @property
    def masked(self) -> str | None:
        """The stem of the image that this mask belongs to; None for an image."""
        match = _MASK.fullmatch(self.stem)
        return match[1] if match else None

    @property
    def image_name(self) -> str:
        """The id of the image in the dataset; some copies number the files of each folder from 1."""
        stem = self.stem if self.masked is None else self.masked
        return stem if stem.startswith(self.label) else f"{self.label}/{stem}"

    def order(self) -> tuple[int, int, str]:
        """Sort key: class, number in the name, name."""
        number = re.search(r"\d{1,9}", self.stem)
        return CLASSES.index(self.label), int(number[0]) if number else 0, self.key

    def locate(self, raw: Path) -> Provenance:
        if isinstance(self.place, Members):
            return Provenance(self.place.path.relative_to(raw).as_posix(), to_line(self.name))
        return Provenance(to_line((self.place / self.name).relative_to(raw).as_posix()), "the picture")

    def read(self, image_id: str) -> Image:
        if isinstance(self.place, Members):
            return Image(image_id, data=self.place.read(self.name))
        path = self.place / self.name
        if not path.is_file():
            raise Unusable(Reason.IMAGE_MISSING, "the link leads to no file")
        return Image(image_id, path=path)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the images class by class; SourceError if there is no folder of a class, or the zip is damaged."""
    places = list(walk(raw, 2))
    folders = [found for path, _, _ in places if (found := _keep_images(path, _list_folder(path)))]
    archives = [path / name for path, _, files in places for name in sorted(files) if name.endswith(".zip")]
    unpacked = folders[0] if folders else []
    for found in folders[1:]:
        _log.info("%s: not read: %s is used", found[0].place, folders[0][0].place)
    with ExitStack() as stack:
        packed: list[_Found] = []
        for archive in archives:
            if packed:
                _log.info("%s: not read: another archive is used", archive)
                continue
            members = stack.enter_context((open_spare if unpacked else open_members)(archive))
            packed = _keep_images(members, members.names) if members else []
        if not unpacked and not packed:
            expected = f"`{FOLDER}/{{{','.join(CLASSES)}}}`; expected them there, or in a zip"
            raise SourceError(f"{raw}: no images in {expected}")
        found_by_key = {found.key: found for found in (*packed, *unpacked)}
        yield from _read_found(raw, sorted(found_by_key.values(), key=_Found.order))


def _list_folder(folder: Path) -> Iterator[str]:
    """Yield the paths below `folder` of the files in folders that are named like a class."""
    for home in sorted(folder.iterdir()):
        if home.name.casefold() in CLASSES and home.is_dir():
            yield from (f"{home.name}/{path.name}" for path in home.iterdir())


def _keep_images(place: Path | Members, names: Iterable[str]) -> list[_Found]:
    """Keep the images and masks in folders of the classes; empty if there are only masks."""
    found = [
        _Found(place, name)
        for name in names
        if (path := PurePosixPath(name)).suffix.casefold() in _SUFFIXES
        and path.parent.name.casefold() in CLASSES
        and not path.name.startswith(".")
        and not is_junk(name)
    ]
    return found if any(each.masked is None for each in found) else []


def _read_found(raw: Path, found: list[_Found]) -> Iterator[Sample | Rejected]:
    """Represent the images, then the masks whose image is absent, one for each image."""
    shown = [each for each in found if each.masked is None]
    images = {(each.label, each.stem) for each in shown}
    masks = [each for each in found if each.masked is not None]
    num_masks = Counter((each.label, each.masked) for each in masks)
    alone = {(each.label, each.masked): each for each in masks if (each.label, each.masked) not in images}
    if missing := set(CLASSES) - {each.label for each in shown}:
        _log.info("%s: no images of %s", raw, " or ".join(sorted(missing)))

    def build(record: Record, _: str) -> Content:
        each = record["found"]
        if each.masked is not None:
            raise Unusable(Reason.IMAGE_MISSING, "only its mask is there")
        return {
            "turns": (Turn("", each.label),),
            "images": (each.read(f"{each.image_name}{PurePosixPath(each.name).suffix}"),),
            "labels": (each.label,),
            "attributes": {"num_masks": str(num_masks[each.label, each.stem])},
        }

    listed = [*shown, *alone.values()]
    records = ((str(number), {"found": each}) for number, each in enumerate(listed, start=1))
    rows = represent(card, records, raw=raw, path=raw / FOLDER, identify=_identify, build=build, seen={})
    for each, row in zip(listed, rows, strict=True):
        yield replace(row, provenance=each.locate(raw))


def _identify(_: str, record: Record) -> tuple[str, str]:
    if to_line(record["found"].key) != record["found"].key:
        raise Unusable(Reason.NOT_UTF8, "the file's name is not one line of UTF-8")
    return record["found"].image_name, "all"
