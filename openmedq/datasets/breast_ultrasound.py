"""BUSI: breast ultrasound pictures, benign, malignant or normal (Al-Dhabyani et al., 2020).

OpenMedQ's paper calls the set Breast-Ultrasound. Layout read, as published: `Dataset_BUSI_with_GT/` with the folders
`benign/`, `malignant/` and `normal/`, unpacked (there, or the three directly) or in a zip in place (Cairo's
`Dataset_BUSI.zip`, Kaggle's `archive.zip`, any other that holds the folders), up to two folders below the raw one. A
zip beside the unpacked folders serves the pictures that they lack. The folder is the label. There is no split, and no
key of patient or study: transfer divides the set by groups of near duplicates.

What is odd in the published files, and in the miniature:

- Masks lie beside the pictures, `benign (1)_mask.png`, several where there are several lesions (`_mask_1.png`):
  they are no records, only counted; of an image that is absent, its mask tells. Those of normal pictures are black.
- Names with spaces and parentheses, numbered from 1: read in the order of the numbers, not of the letters.
- The same picture under several names, and a few both as benign and as malignant: every one is a record.
- Pictures of different sizes; colour, gray, and with an alpha channel.
- The classes are far from equal: 437, 210 and 133 pictures.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import to_line
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
    advice="its server's certificate is at times refused: then fetch Dataset_BUSI.zip with a browser from the set's "
    "page, into a folder breast_ultrasound of your mirror",
    classes=CLASSES,
)

_MASK = re.compile(r"(.*)_mask(?:_\d+)?", re.DOTALL)
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the pictures class by class; SourceError where no class's folder is there, or the zip is cut."""
    places = list(walk(raw, 2))
    folders = [path for path, _, _ in places if _has_record(_list_folder(path))]
    archives = [path / name for path, _, files in places for name in sorted(files) if name.endswith(".zip")]
    unpacked = {_key(name): folders[0] / name for name in _list_folder(folders[0])} if folders else {}
    for path in folders[1:]:
        _log.info("%s: not read: %s is there", path, folders[0])
    with ExitStack() as stack:
        packed: dict[str, tuple[Members, str]] = {}  # by key; the first archive that holds pictures
        for archive in archives:
            if packed:
                _log.info("%s: not read: another archive is there", archive)
                continue
            members = stack.enter_context((open_spare if unpacked else open_members)(archive))
            names = [name for name in members.names if _is_picture(name)] if members else []
            if members and _has_record(names):
                packed = {_key(name): (members, name) for name in names}

        def read_image(key: str, image_id: str) -> Image | None:
            if key in unpacked:
                return _find_image(unpacked[key], image_id)
            members, name = packed[key]
            return Image(image_id, data=members.read(name))

        def locate(key: str) -> Provenance:
            if key in unpacked:
                return Provenance(unpacked[key].relative_to(raw).as_posix(), "the picture")
            members, name = packed[key]
            return Provenance(members.path.relative_to(raw).as_posix(), to_line(name))

        if not unpacked and not packed:
            expected = f"`{FOLDER}/{{{','.join(CLASSES)}}}`; expected them there, or in a zip"
            raise SourceError(f"{raw}: no pictures in {expected}")
        yield from _read_names(packed | unpacked, read_image=read_image, locate=locate)


def _key(name: str) -> str:
    """The folder and the name of a picture, which an unpacked one and an archived one share."""
    return f"{_label(name)}/{PurePosixPath(name).name}"


def _list_folder(folder: Path) -> list[str]:
    """Names below `folder` of what lies in the folders of the classes, whatever their case."""
    homes = (path for path in sorted(folder.iterdir()) if path.name.casefold() in CLASSES and path.is_dir())
    names = (f"{home.name}/{path.name}" for home in homes for path in home.iterdir())
    return [name for name in names if _is_picture(name) and not is_junk(name)]


def _find_image(path: Path, image_id: str) -> Image | None:
    return Image(image_id, path=path) if path.is_file() else None  # a link may lead to nothing


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    is_named = path.suffix.casefold() in _SUFFIXES and not path.name.startswith(".")
    return is_named and path.parent.name.casefold() in CLASSES


def _has_record(names: Iterable[str]) -> bool:
    return any(not _MASK.fullmatch(_stem(name)) for name in names)


def _read_names(
    names: Iterable[str], *, read_image: Callable[[str, str], Image | None], locate: Callable[[str], Provenance]
) -> Iterator[Sample | Rejected]:
    """The pictures among `names`, which are kept in memory: they are a few hundred."""
    ordered = sorted(names, key=_order)
    pictures = [name for name in ordered if not _MASK.fullmatch(_stem(name))]
    masks = Counter(
        (_label(name), match[1])
        for name in ordered
        if (match := _MASK.fullmatch(_stem(name)))  # of which picture
    )
    if pictures and (missing := set(CLASSES) - {_label(name) for name in pictures}):
        _log.info("no pictures that are %s", " or ".join(sorted(missing)))
    seen: set[str] = set()
    for number, name in enumerate(pictures, start=1):
        yield _represent(name, number, seen, masks[_label(name), _stem(name)], read_image, locate)
    named = {(_label(name), _stem(name)) for name in pictures}
    for name in ordered:
        match = _MASK.fullmatch(_stem(name))
        key = (_label(name), match[1]) if match else None
        if key and key not in named:
            named.add(key)
            row_id = f"{card.id}/{to_line(key[1])}"
            yield Rejected(row_id, card.id, "all", Reason.IMAGE_MISSING, "only its mask is there", locate(name))


def _represent(
    name: str,
    number: int,
    seen: set[str],
    num_masks: int,
    read_image: Callable[[str, str], Image | None],
    locate: Callable[[str], Provenance],
) -> Sample | Rejected:
    label, stem = _label(name), _stem(name)
    key = stem if stem.startswith(label) else f"{label}/{stem}"  # where they are renamed, to 1.png, in each folder
    provenance, fallback = locate(name), f"{card.id}/picture-{number}"
    if to_line(name) != name:
        provenance = Provenance(to_line(provenance.file), provenance.record)
        return Rejected(fallback, card.id, "all", Reason.NOT_UTF8, "the file's name is no line of UTF-8", provenance)
    if key in seen:
        detail = f"{key} stands for an earlier picture too"
        return Rejected(fallback, card.id, "all", Reason.ID_REPEATED, detail, provenance)
    seen.add(key)
    try:
        image = read_image(name, f"{key}{PurePosixPath(name).suffix}")
    except ArchiveError as error:
        detail = to_line(str(error))
        return Rejected(f"{card.id}/{key}", card.id, "all", Reason.IMAGE_UNREADABLE, detail, provenance)
    if image is None:
        detail = "its name leads to no file"
        return Rejected(f"{card.id}/{key}", card.id, "all", Reason.IMAGE_MISSING, detail, provenance)
    return Sample(
        id=f"{card.id}/{key}",
        source=card.id,
        split="all",
        task=card.task,
        modality=card.modality,
        licence=card.licence,
        provenance=provenance,
        turns=(Turn("", label),),
        images=(image,),
        labels=(label,),
        attributes={"num_masks": str(num_masks)},
    )


def _label(name: str) -> str:
    return PurePosixPath(name).parent.name.casefold()


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _order(name: str) -> tuple[int, int, str]:
    """By class, by the number in the name, by name."""
    number = re.search(r"\d{1,9}", _stem(name))
    return CLASSES.index(_label(name)), int(number[0]) if number else 0, name
