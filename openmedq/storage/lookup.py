"""Find images by name in folders and archives. The bytes are not decoded here."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from openmedq.errors import ArchiveError
from openmedq.schema import Image
from openmedq.storage.archives import Members, open_members
from openmedq.storage.folders import spellings, walk

NOWHERE = "(no folder or archive of images is there)"

_log = logging.getLogger(__name__)


class ImageLookup(Protocol):
    """Images by name."""

    where: str  # the folders and archives that are searched, as the end of an error message

    def find(self, name: str) -> Image | None:
        """The image of that name, as bytes or as a path, or None; ArchiveError if it is damaged."""


class ArchivedImages:
    """Images in an open archive."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self.where = f"in {members.path.name}"

    def find(self, name: str) -> Image | None:
        """See `ImageLookup.find`."""
        for spelled in spellings(name):
            if self._members.find(spelled):
                return Image(_basename(name), data=self._members.read(spelled))
        return None


class FolderImages:
    """Images in a folder and its subfolders."""

    def __init__(self, folder: Path) -> None:
        self._folders = [inner for inner, _, _ in walk(folder)]
        self.where = f"in folder {folder.name}"

    def find(self, name: str) -> Image | None:
        """See `ImageLookup.find`."""
        basename = _basename(name)
        # Names of more than 255 bytes are impossible.
        if basename in ("", ".", "..") or len(basename.encode(errors="replace")) > 255:
            return None
        for spelled in spellings(basename):
            for folder in self._folders:
                # Not by `Path`, which interns each name: Python 3.12 keeps interned texts for ever.
                if os.path.isfile(f"{folder}/{spelled}"):  # noqa: PTH113
                    return Image(basename, path=folder / spelled)
        return None


class ChainedImages:
    """Images from several places; a place is opened when the earlier ones do not have an image."""

    def __init__(
        self, opened: Iterable[ImageLookup] = (), waiting: Iterable[Callable[[], ImageLookup]] = (), where: str = ""
    ) -> None:
        """Take open places, functions that open the others, and a description of all."""
        self._opened = list(opened)
        self._waiting = list(waiting)
        self.where = where or " or ".join(place.where for place in self._opened) or NOWHERE

    def find(self, name: str) -> Image | None:
        """See `ImageLookup.find`."""
        return next((image for place in self._places() if (image := place.find(name))), None)

    def _places(self) -> Iterator[ImageLookup]:
        yield from self._opened
        while self._waiting:
            self._opened.append(self._waiting.pop(0)())
            yield self._opened[-1]


@contextmanager
def open_images(raw: Path, *places: str) -> Iterator[ImageLookup]:
    """Open the existing folders and archives among `places` below `raw`; the first one with an image is used.

    ArchiveError if the first place is a damaged archive; a later damaged one is skipped with a warning.
    """
    found = (next(filter(Path.exists, map(raw.joinpath, spellings(name))), None) for name in places)
    there = [*dict.fromkeys(filter(None, found))]
    # A folder that contains an earlier place would find the images of other places by their file name.
    there = [path for index, path in enumerate(there) if not any(path in other.parents for other in there[:index])]
    with ExitStack() as stack:
        first = [_open(path, stack, open_members) for path in there[:1]]
        where = f"in {', '.join(path.name for path in there)}" if there else f"(none of {', '.join(places)} is there)"
        yield ChainedImages(first, [partial(_open, path, stack, open_spare) for path in there[1:]], where)


def _open(
    path: Path, stack: ExitStack, open_archive: Callable[[Path], AbstractContextManager[Members | None]]
) -> ImageLookup:
    if path.is_dir():
        return FolderImages(path)
    members = stack.enter_context(open_archive(path))
    return ArchivedImages(members) if members else ChainedImages()


@contextmanager
def open_spare(path: Path) -> Iterator[Members | None]:
    """Open an archive for images that are missing from its unpacked folder; None, with a warning, if it is damaged."""
    with ExitStack() as stack:
        try:
            members = stack.enter_context(open_members(path))
        except ArchiveError as error:
            _log.warning("%s; only images that are unpacked are read", error)
            members = None
        else:
            _log.info("%s: read for images that are not unpacked", path)
        yield members


def _basename(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]
