"""Join records with images in folders and archives that are read only once, forwards.

A gzipped tar cannot be read at random, and its images may be in another order than the records. So the records wait in
memory, about 400 bytes each, while the images are read in their own order.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeVar

from openmedq.datasets.fields import Record, Unusable
from openmedq.schema import Image, Reason
from openmedq.storage.archives import Members, open_members

_READ = "\0read"  # field of a joined record: the function that reads its image, or None

_log = logging.getLogger(__name__)

Key = TypeVar("Key")


def join_images(
    records: Iterable[tuple[Key, Record | Unusable]], column: str, unpacked: Iterable[Path], archives: Sequence[Path]
) -> Iterator[tuple[Key, Record | Unusable]]:
    """Yield the records in the order of the images that `column` names; `take_image` returns them.

    Unpacked images come first, then those of the archives, then records without an image, and last records that name
    the image of an earlier one. Unusable records, and those that name no image, are yielded at once. SourceError if an
    archive is damaged.
    """
    waiting: dict[str, tuple[Key, str]] = {}  # by image: key, and the record as JSON, which takes less memory
    repeated: list[tuple[Key, Record]] = []
    for key, record in records:
        if isinstance(record, Unusable):
            yield key, record
        elif not (name := record[column].strip()):
            yield key, {**record, _READ: None}
        elif name in waiting:
            repeated.append((key, record))
        else:
            waiting[name] = key, json.dumps(record)

    for name, read in _stream_images(unpacked, archives, waiting):
        if name in waiting:
            key, packed = waiting.pop(name)
            yield key, {**json.loads(packed), _READ: read}
    for key, packed in waiting.values():
        yield key, {**json.loads(packed), _READ: None}
    for key, record in repeated:
        yield key, {**record, _READ: None}


def take_image(record: Record, name: str) -> Image:
    """Read the image of a joined record; Unusable if there is none, ArchiveError if it is damaged."""
    if record[_READ] is None:
        raise Unusable(Reason.IMAGE_MISSING, f"no image {name}")
    image: Image = record[_READ]()
    return image


def _stream_images(
    unpacked: Iterable[Path], archives: Sequence[Path], waiting: dict[str, tuple[Key, str]]
) -> Iterator[tuple[str, Callable[[], Image]]]:
    for path in unpacked:
        name = _name_of(path)
        yield name, partial(Image, name, path=path)
    for archive in archives:
        if not waiting:
            _log.info("%s: not read: all images were found before", archive)
            continue
        with open_members(archive) as members:
            for member in members.names:  # in the archive's order, to read it only once
                if (name := _name_of(PurePosixPath(member))).endswith(".png"):
                    yield name, partial(_read, members, member, name)


def _name_of(path: PurePath) -> str:
    """The name of an image, with its suffix as published, in lower case."""
    return path.stem + path.suffix.lower()


def _read(members: Members, member: str, name: str) -> Image:
    return Image(name, data=members.read(member))
