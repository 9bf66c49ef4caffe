"""BUSI: breast ultrasound images, benign, malignant or normal (Al-Dhabyani et al., 2020).

The OpenMedQ paper calls it Breast-Ultrasound. Layout, as published at
https://scholar.cu.edu.eg/?q=afahmy/pages/dataset: `Dataset_BUSI_with_GT/` with the folders `benign/`, `malignant/` and
`normal/`, which are the labels; unpacked (with or without the outer folder) or in a zip, up to two folders deeper. A
zip beside the folders provides images that they lack. There are no splits and no keys of patients or studies, so
transfer divides the dataset by groups of near duplicates.

- Masks are beside the images, `benign (1)_mask.png`, several if there are several lesions (`_mask_1.png`). They are
  only counted; a mask without its image is a rejected row. The masks of normal images are black.
- File names contain spaces and parentheses and are numbered from 1; rows are in the order of the numbers.
- Some images occur under several names, a few as both benign and malignant; each is a row.
- Images differ in size, and are RGB, gray or RGBA.
- The classes are unbalanced: 437, 210 and 133 images.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import make_sample, to_line
from openmedq.errors import ArchiveError, SourceError
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

    def order(self) -> tuple[int, int, str]:
        """Sort key: class, number in the name, name."""
        number = re.search(r"\d{1,9}", self.stem)
        return CLASSES.index(self.label), int(number[0]) if number else 0, self.key

    def locate(self, raw: Path) -> Provenance:
        if isinstance(self.place, Members):
            return Provenance(self.place.path.relative_to(raw).as_posix(), to_line(self.name))
        return Provenance((self.place / self.name).relative_to(raw).as_posix(), "the picture")

    def read(self, image_id: str) -> Image | None:
        """Return the image; None for a link to a file that is absent, ArchiveError if it is damaged."""
        if isinstance(self.place, Members):
            return Image(image_id, data=self.place.read(self.name))
        path = self.place / self.name
        return Image(image_id, path=path) if path.is_file() else None


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
    images = [each for each in found if each.masked is None]
    masks = Counter((each.label, each.masked) for each in found if each.masked is not None)
    if missing := set(CLASSES) - {each.label for each in images}:
        _log.info("%s: no images of %s", raw, " or ".join(sorted(missing)))
    seen: set[str] = set()
    for number, image in enumerate(images, start=1):
        yield _represent(raw, image, number, seen, masks[image.label, image.stem])
    named: set[tuple[str, str | None]] = {(each.label, each.stem) for each in images}
    for number, each in enumerate(found, start=1):
        if each.masked is not None and (each.label, each.masked) not in named:
            named.add((each.label, each.masked))
            name = _name(each.label, each.masked)
            if name in seen or to_line(name) != name:
                name = f"mask-{number}"
            seen.add(name)
            provenance = each.locate(raw)
            provenance = Provenance(to_line(provenance.file), provenance.record)
            detail = "only its mask is there"
            yield Rejected(f"{card.id}/{name}", card.id, "all", Reason.IMAGE_MISSING, detail, provenance)


def _name(label: str, stem: str) -> str:
    """Return the id of an image in the dataset; some copies number the files of each folder from 1."""
    return stem if stem.startswith(label) else f"{label}/{stem}"


def _represent(raw: Path, found: _Found, number: int, seen: set[str], num_masks: int) -> Sample | Rejected:
    label = found.label
    key = _name(label, found.stem)
    provenance = found.locate(raw)

    def reject(row_name: str, reason: Reason, detail: str) -> Rejected:
        return Rejected(f"{card.id}/{row_name}", card.id, "all", reason, detail, provenance)

    if to_line(found.key) != found.key:
        provenance = Provenance(to_line(provenance.file), provenance.record)
        return reject(f"picture-{number}", Reason.NOT_UTF8, "the file's name is not one line of UTF-8")
    if key in seen:
        return reject(f"picture-{number}", Reason.ID_REPEATED, f"an earlier image has the id {key} too")
    seen.add(key)
    try:
        image = found.read(f"{key}{PurePosixPath(found.name).suffix}")
    except ArchiveError as error:
        return reject(key, Reason.IMAGE_UNREADABLE, to_line(str(error)))
    if image is None:
        return reject(key, Reason.IMAGE_MISSING, "the link leads to no file")
    return make_sample(
        card,
        f"{card.id}/{key}",
        "all",
        provenance,
        turns=(Turn("", label),),
        images=(image,),
        labels=(label,),
        attributes={"num_masks": str(num_masks)},
    )
