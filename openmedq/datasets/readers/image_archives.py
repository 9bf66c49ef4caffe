"""Pictures for the rows of a table where they lie in several archives, some or all of them perhaps unpacked.

A gzipped tar can only be read forward, and its pictures need not be in the table's order. So rows whose pictures are
not unpacked wait in memory (a quarter of a kilobyte each), every archive is gone through once in its own order, and
rows that are then still without a picture come last.
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
from openmedq.storage.lookup import Pictures, open_pictures

_PICTURE = "\0picture"  # where a record carries its picture, or what is wrong with it
_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")

_log = logging.getLogger(__name__)


def join_pictures(
    rows: Iterable[tuple[str, Row | Unusable]], column: str, folder: Path, stem: str
) -> Iterator[tuple[str, Any]]:
    """The rows, each carrying the picture that its `column` names (see `take_picture`), in the order of the pictures.

    Pictures lie in folders or archives whose names begin with `stem`, in `folder` or in `folder/stem`, or right in
    `folder`. SourceError where an archive is not whole.
    """
    archives = _find_archives(folder, stem)
    waiting: dict[str, str] = {}  # rows by name, packed
    repeated: list[tuple[str, Row]] = []
    columns: list[str] = []
    with ExitStack() as stack:
        places = [path.name for path in find_all(folder, f"{stem}*") if path.is_dir()]
        folders = [stack.enter_context(open_pictures(folder, place)) for place in places]
        for key, row in rows:
            if isinstance(row, Unusable):
                yield key, row
                continue
            name = row[column].strip()
            picture = _find_unpacked(folder, folders, name)
            if picture or not archives:
                yield key, _carry(row, picture)
            elif name in waiting:
                repeated.append((key, row))
            else:
                columns, waiting[name] = list(row), json.dumps([key, *row.values()])

    def unpack(packed: str, picture: Image | ArchiveError | None) -> tuple[str, Record]:
        key, *values = json.loads(packed)
        return key, _carry(dict(zip(columns, values, strict=True)), picture)

    for path in archives:
        if not waiting:
            _log.info("%s: not read: no picture is left to find", path)
            continue
        with open_members(path) as members:
            for member in members.names:  # in the order of the archive
                if packed := waiting.pop(PurePosixPath(member).name, None):
                    yield unpack(packed, _read_member(members, member))
    for packed in waiting.values():
        yield unpack(packed, None)
    for key, row in repeated:  # after the row that they repeat
        yield key, _carry(row, None)


def take_picture(record: Record, name: str) -> Image:
    """The picture that a record carries; Unusable where there was none of that name, ArchiveError where damaged."""
    picture = record[_PICTURE]
    if isinstance(picture, ArchiveError):
        raise picture
    if not isinstance(picture, Image):
        raise Unusable(Reason.IMAGE_MISSING, f"no picture {name}")
    return picture


def _carry(row: Row, picture: Image | ArchiveError | None) -> Record:
    return {**row, _PICTURE: picture}


def _find_archives(folder: Path, stem: str) -> list[Path]:
    paths = {
        path for pattern in (f"{stem}*", f"{stem}/{stem}*") for path in find_all(folder, pattern) if path.is_file()
    }
    return sorted(path for path in paths if path.name.lower().endswith(_SUFFIXES))


def _find_unpacked(folder: Path, folders: list[Pictures], name: str) -> Image | None:
    for index, pictures in enumerate(folders):
        if picture := pictures.find(name):
            folders.insert(0, folders.pop(index))  # the next one will lie there too
            return picture
    is_name = name == PurePosixPath(name).name and len(name.encode(errors="replace")) < 256 and "\0" not in name
    return Image(name, path=folder / name) if is_name and (folder / name).is_file() else None


def _read_member(members: Members, name: str) -> Image | ArchiveError:
    try:
        return Image(PurePosixPath(name).name, data=members.read(name))
    except ArchiveError as problem:
        return problem
