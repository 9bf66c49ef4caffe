"""Streaming readers for file layouts that several datasets share. The content of published files is untrusted."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from openmedq.datasets.card import Card
from openmedq.errors import SourceError
from openmedq.storage.archives import MemberPath, open_members
from openmedq.storage.folders import find_all
from openmedq.storage.lookup import open_spare
from openmedq.storage.origin import find_files

_log = logging.getLogger(__name__)

T = TypeVar("T")
ARCHIVE_SUFFIXES = (".tgz", ".tar.gz", ".tar", ".zip")
Place = Path | MemberPath  # a file, unpacked or in an archive


def warn_absent(dataset_id: str, name: str, split: str) -> None:
    """Log that the file of a split is absent."""
    _log.warning('%s: %s is absent; the split "%s" has no rows', dataset_id, name, split)


def not_found(card: Card, raw: Path, what: str) -> SourceError:
    """The error for a folder without the files of a dataset."""
    return SourceError(f"{raw}: no {what}; expected the files of {card.homepage}")


def use_first(copies: Sequence[T]) -> T:
    """Return the first of one or more copies, and log that the others are not read."""
    for other in copies[1:]:
        _log.info("%s: not read: %s is used", other, copies[0])
    return copies[0]


def list_files(raw: Path) -> list[Path]:
    """List all files below `raw`, sorted, without junk."""
    return [path for path, _ in find_files(raw)] if raw.is_dir() else []


def find_below(raw: Path, *names: str) -> list[Path]:
    """Find files and folders with one of `names` in `raw` or up to two folders deeper, by order of `names`, then depth.

    Archives and clones often unpack into a folder, or into a folder in a folder of the same name; kagglehub into
    `<owner>/<name>/versions/<number>/`.
    """
    depths = ("", "*/", "*/*/", "*/versions/*/")
    return [path for name in names for depth in depths for path in find_all(raw, depth + name)]


def find_files_below(raw: Path, *names: str) -> list[Path]:
    """Like `find_below`, for files only."""
    return [path for path in find_below(raw, *names) if path.is_file()]


def find_places(raw: Path, *names: str, is_optional: bool = False) -> dict[str, Place]:
    """Find files by name: the uppermost that is unpacked, or else that in the first zip with any of them.

    A damaged zip is an ArchiveError, or a warning if a file is unpacked or `is_optional`.
    """
    files = list_files(raw)
    unpacked = _choose(files, names)
    packed: dict[str, Place] = {}
    for path in files if len(unpacked) < len(names) else ():
        if path.suffix.lower() == ".zip" and not packed:
            with (open_spare if unpacked or is_optional else open_members)(path) as members:
                packed = _choose((MemberPath(path, name) for name in (members.names if members else ())), names)
    return packed | unpacked


def _choose(places: Iterable[Place], names: tuple[str, ...]) -> dict[str, Place]:
    copies: dict[str, list[Place]] = {}
    for place in sorted(places, key=lambda place: (len(PurePosixPath(str(place)).parts), str(place))):
        if (name := PurePosixPath(str(place)).name) in names:
            copies.setdefault(name, []).append(place)
    return {name: use_first(found) for name, found in copies.items()}


def places_near(raw: Path, path: Path, *names: str) -> list[str]:
    """Return each of `names` in the folder of `path`, then in `raw`, as paths relative to `raw`."""
    folders = dict.fromkeys((path.parent, raw))
    return [(folder / name).relative_to(raw).as_posix() for folder in folders for name in names]
