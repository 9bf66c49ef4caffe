"""Images by name, wherever they lie: in folders, in archives, or partly in both.

Whether the bytes are an image is not checked here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

from openmedq.errors import ArchiveError
from openmedq.schema import Image
from openmedq.storage.archives import Members, open_members
from openmedq.storage.folders import walk

NOWHERE = "(no folder or archive of images is there)"

_log = logging.getLogger(__name__)


class Pictures(Protocol):
    """Images by name."""

    where: str  # the folders and archives that are searched, in words that follow a missing image's name

    def find(self, name: str) -> Image | None:
        """The image of that name, its bytes or its path; None where it is absent, ArchiveError where damaged."""


class ArchivedPictures:
    """The images of an open archive."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self.where = f"in {members.path.name}"

    def find(self, name: str) -> Image | None:
        """As `Pictures.find`."""
        for spelled in _spellings(name):
            if self._members.find(spelled):
                return Image(_basename(name), data=self._members.read(spelled))
        return None


class FolderPictures:
    """The images of a folder and of those below it."""

    def __init__(self, folder: Path) -> None:
        self._folders = [inner for inner, _, _ in walk(folder)]
        self.where = f"in folder {folder.name}"

    def find(self, name: str) -> Image | None:
        """As `Pictures.find`."""
        basename = _basename(name)
        if basename in ("", "..") or len(basename.encode(errors="replace")) > 255:  # no file system has longer names
            return None
        for spelled in _spellings(basename):
            for folder in self._folders:
                if (folder / spelled).is_file():
                    return Image(basename, path=folder / spelled)
        return None


class ChainedPictures:
    """Images from several places: each is opened when those before it lack an image."""

    def __init__(
        self, opened: Iterable[Pictures] = (), waiting: Iterable[Callable[[], Pictures]] = (), where: str = ""
    ) -> None:
        """Open places, how to open the others, and what all of them are called."""
        self._opened = list(opened)
        self._waiting = list(waiting)
        self.where = where or " or ".join(place.where for place in self._opened) or NOWHERE

    def find(self, name: str) -> Image | None:
        """As `Pictures.find`."""
        return next((picture for place in self._places() if (picture := place.find(name))), None)

    def _places(self) -> Iterator[Pictures]:
        yield from self._opened
        while self._waiting:
            self._opened.append(self._waiting.pop(0)())
            yield self._opened[-1]


@contextmanager
def open_pictures(raw: Path, *places: str) -> Iterator[Pictures]:
    """Images from those of `places`, folders or archives below `raw`, that are there; earlier ones win.

    None there: all images are absent. ArchiveError where the first place is a damaged archive; another one that is
    damaged is left out, with a warning.
    """
    there = [path for path in dict.fromkeys(raw / name for name in places) if path.is_dir() or path.is_file()]
    # A folder above an earlier place would serve images of other places by their last part.
    there = [path for index, path in enumerate(there) if not any(path in other.parents for other in there[:index])]
    with ExitStack() as stack:
        first = [_open(path, stack, open_members) for path in there[:1]]
        where = f"in {', '.join(path.name for path in there)}" if there else f"(none of {', '.join(places)} is there)"
        yield ChainedPictures(first, [partial(_open, path, stack, open_spare) for path in there[1:]], where)


def _open(
    path: Path, stack: ExitStack, open_archive: Callable[[Path], AbstractContextManager[Members | None]]
) -> Pictures:
    if path.is_dir():
        return FolderPictures(path)
    members = stack.enter_context(open_archive(path))
    return ArchivedPictures(members) if members else ChainedPictures()


@contextmanager
def open_spare(path: Path) -> Iterator[Members | None]:
    """Open an archive for what its unpacked folder lacks; None, with a warning, where it can't be read."""
    with ExitStack() as stack:
        try:
            members = stack.enter_context(open_members(path))
        except ArchiveError as error:
            _log.warning("%s; what is not unpacked is missing", error)
            members = None
        else:
            _log.info("%s: read for what is not unpacked", path)
        yield members


def _basename(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name


def _spellings(name: str) -> Iterator[str]:
    """The name, then with its ending in capitals or not: some systems write `.JPG`."""
    yield name
    stem, dot, ending = name.rpartition(".")
    for other in (ending.lower(), ending.upper()):
        if dot and other != ending:
            yield f"{stem}.{other}"
