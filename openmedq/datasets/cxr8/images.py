"""Join the rows of a table with images in several archives, some of which may be unpacked.

A gzipped tar can only be read forwards, and its images may not be in the order of the table. So the rows whose images
are not unpacked are kept in memory (250 bytes each) while every archive is read once. Rows without an image come last.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

from openmedq.datasets.fields import Record, Unusable
from openmedq.datasets.readers.tables import Row
from openmedq.errors import ArchiveError
from openmedq.schema import Image, Reason
from openmedq.storage.archives import Members, open_members
from openmedq.storage.folders import find_all
from openmedq.storage.lookup import ImageLookup, open_images

_IMAGE = "\0image"  # field with a record's image, or the error of reading it
_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")

_log = logging.getLogger(__name__)


def join_images(
    rows: Iterable[tuple[str, Row | Unusable]], column: str, folder: Path, stem: str
) -> Iterator[tuple[str, Any]]:
    """Yield the rows with the image that `column` names (see `take_image`), in the order of the images.

    Images are in folders or archives whose names start with `stem`, in `folder` or in `folder/stem`, or in `folder`
    itself. SourceError if an archive is damaged.
    """
    archives = _find_archives(folder, stem)
    waiting: dict[str, str] = {}  # packed rows by image name
    repeated: list[tuple[str, Row]] = []
    columns: list[str] = []
    with ExitStack() as stack:
        places = [path.name for path in find_all(folder, f"{stem}*") if path.is_dir()]
        folders = [stack.enter_context(open_images(folder, place)) for place in places]
        for key, row in rows:
            if isinstance(row, Unusable):
                yield key, row
                continue
            name = row[column].strip()
            image = _find_unpacked(folder, folders, name)
            if image or not archives:
                yield key, _carry(row, image)
            elif name in waiting:
                repeated.append((key, row))
            else:
                columns, waiting[name] = list(row), json.dumps([key, *row.values()])

    def unpack(packed: str, image: Image | ArchiveError | None) -> tuple[str, Record]:
        key, *values = json.loads(packed)
        return key, _carry(dict(zip(columns, values, strict=True)), image)

    for path in archives:
        if not waiting:
            _log.info("%s: not read: all images were found before", path)
            continue
        with open_members(path) as members:
            for member in members.names:  # in the order of the archive
                if packed := waiting.pop(PurePosixPath(member).name, None):
                    yield unpack(packed, _read_member(members, member))
    for packed in waiting.values():
        yield unpack(packed, None)
    for key, row in repeated:  # after the rows that they repeat
        yield key, _carry(row, None)


def take_image(record: Record, name: str) -> Image:
    """Return the image that was joined to a record; Unusable if there was none, ArchiveError if it is damaged."""
    image = record[_IMAGE]
    if isinstance(image, ArchiveError):
        raise image
    if not isinstance(image, Image):
        raise Unusable(Reason.IMAGE_MISSING, f"no image {name}")
    return image


def _carry(row: Row, image: Image | ArchiveError | None) -> Record:
    return {**row, _IMAGE: image}


def _find_archives(folder: Path, stem: str) -> list[Path]:
    paths = {
        path for pattern in (f"{stem}*", f"{stem}/{stem}*") for path in find_all(folder, pattern) if path.is_file()
    }
    return sorted(path for path in paths if path.name.lower().endswith(_SUFFIXES))


def _find_unpacked(folder: Path, folders: list[ImageLookup], name: str) -> Image | None:
    for index, place in enumerate(folders):
        if image := place.find(name):
            folders.insert(0, folders.pop(index))  # the next image is probably there too
            return image
    is_name = name == PurePosixPath(name).name and len(name.encode(errors="replace")) < 256 and "\0" not in name
    return Image(name, path=folder / name) if is_name and (folder / name).is_file() else None


def _read_member(members: Members, name: str) -> Image | ArchiveError:
    try:
        return Image(PurePosixPath(name).name, data=members.read(name))
    except ArchiveError as problem:
        return problem
