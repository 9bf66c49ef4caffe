"""Read texts and images of a published folder alike, whether it is unpacked or an archive. Texts are read whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from openmedq.datasets.readers import find_file, find_files_below
from openmedq.storage import unexpected
from openmedq.storage.archives import Members, open_inner, open_members
from openmedq.storage.lookup import ArchivedImages, ChainedImages, ImageLookup, open_images, open_spare


@dataclass(frozen=True)
class Place:
    """An open folder or archive."""

    path: Path
    images: ImageLookup
    members: Members | None  # None for a folder

    def read(self, name: str) -> bytes | None:
        """Return the bytes of the file at this path, or else of the file with its last part as name; None if absent.

        ArchiveError if it is damaged or ambiguous; SourceError if it is an unexpected file.
        """
        path = self.locate(name)
        if self.members:
            data = self.members.read(name) if self.members.find(name) else None
            path = path / name
        else:
            data = path.read_bytes() if path.is_file() else None
        if data is not None:
            unexpected.refuse(path, data)
        return data

    def locate(self, name: str) -> Path:
        """Return the file that errors about the text `name` refer to: the file itself, or the archive."""
        if self.members:
            return self.path
        return find_file(self.path, name, PurePosixPath(name).name) or self.path / name


def find_places(raw: Path, *names: str) -> list[Path]:
    """Find the folders and zips that contain a file of these names, in `raw` or up to two levels deeper.

    They are sorted by the order of `names`, then by depth.
    """
    found = find_files_below(raw, *names)
    return list(dict.fromkeys(path if path.suffix == ".zip" else path.parent for path in found))


@contextmanager
def open_place(path: Path, images: Sequence[str], spare: Sequence[Path] = ()) -> Iterator[Place]:
    """Open a folder or an archive; `images` are its folders of images, which may themselves be zips.

    The archives in `spare` provide images that a folder lacks.
    """
    if path.is_file():
        with open_members(path) as members, _open_packed(members, images) as found:
            yield Place(path, found, members)
        return
    with ExitStack() as stack:

        def open_other(archive: Path) -> ImageLookup:
            members = stack.enter_context(open_spare(archive))
            return stack.enter_context(_open_packed(members, images)) if members else ChainedImages()

        names = (name + ending for name in images for ending in ("", ".zip"))
        unpacked = stack.enter_context(open_images(path, *names))
        others = [partial(open_other, archive) for archive in spare if archive.is_file()]
        yield Place(path, ChainedImages([unpacked], others), None)


@contextmanager
def _open_packed(members: Members, images: Sequence[str]) -> Iterator[ImageLookup]:
    inner = next((f"{name}.zip" for name in images if members.find(f"{name}.zip")), None)
    if inner is None:
        yield ArchivedImages(members)
    else:
        with open_inner(members, inner) as packed:
            yield ArchivedImages(packed)
