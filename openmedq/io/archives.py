"""Archives, read in place: nobody unpacks 20 GB to look at one picture, and nothing in an archive is trusted.

An archive with an absolute path, a `..`, a link, an encrypted or absurdly expanding member is refused whole when it is
opened; a cut one too. Nothing is ever extracted to disk, so no name in an archive becomes a path here.

`open_pictures` is what sources use: the same look-up by name, whether the pictures lie in a folder or in an archive.
Whether the bytes are a picture is none of this module's business.
"""

from __future__ import annotations

import errno
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, cast

from openmedq.errors import ArchiveError
from openmedq.io import tars, unexpected, zips
from openmedq.io.folders import walk
from openmedq.io.limits import MAX_MEMBER_BYTES
from openmedq.schema import Image

_Info = zipfile.ZipInfo | tarfile.TarInfo
_DAMAGE = (*zips.DAMAGE, *tars.DAMAGE)


class Members:
    """The files of one open archive. A name is a member's whole path or, where only one is called so, its last part."""

    def __init__(self, path: Path, unpack: Callable[[Any], _Info], read: Callable[[Any], bytes]) -> None:
        """An empty index; `unpack` tells what an entry stands for."""
        self.path = path
        self._unpack = unpack
        self._read = read
        self._index: dict[str, Any] = {}  # entries by last part; None: by whole path, there are several

    def add(self, info: _Info, entry: Any) -> None:
        """Index a member as `entry`; ArchiveError where it has no place in an archive."""
        name = _name(info)
        _refuse_unsafe_name(self.path, name)
        basename = _basename(name)
        if name.startswith("__MACOSX/") or basename == ".DS_Store":
            return
        other = self._index.get(basename)
        if any(each and _name(self._unpack(each)) == name for each in (other, self._index.get(name))):
            raise ArchiveError(f"{self.path}: holds {name!r} twice; which is meant? get the archive from its publisher")
        if basename not in self._index or name == basename:
            self._index[basename] = entry
        elif other is None or _name(self._unpack(other)) != basename:
            self._index[basename] = None
        for each in (other, entry):
            if each and self._index[basename] is not each:
                self._index[_name(self._unpack(each))] = each

    @property
    def names(self) -> list[str]:
        """Whole paths of the members."""
        return list(dict.fromkeys(_name(self._unpack(entry)) for entry in self._index.values() if entry))

    def find(self, name: str) -> str | None:
        """The whole path of the member that is meant by `name`; None where there is none.

        ArchiveError where several members in different folders could be meant.
        """
        entry = self._find(name)
        return _name(self._unpack(entry)) if entry else None

    def read(self, name: str) -> bytes:
        """The bytes of a member; ArchiveError where there is none, or it is damaged or too large for memory."""
        entry = self._find(name)
        if entry is None:
            raise ArchiveError(f"{self.path.name}: no member {name!r}")
        info = self._unpack(entry)
        where, size_bytes = f"{self.path.name}: {_name(info)}", _size_bytes(info)
        if size_bytes > MAX_MEMBER_BYTES:
            raise ArchiveError(f"{where}: {size_bytes} bytes are too many to take in")
        try:
            data = self._read(info)
        except _DAMAGE as error:
            raise ArchiveError(f"{where}: damaged ({_describe(error)})") from None
        except OSError as error:
            if error.errno != errno.EINVAL:  # which says that a damaged directory puts the member before the file
                raise
            raise ArchiveError(f"{where}: damaged (no such place in the archive)") from None
        if len(data) != size_bytes:
            raise ArchiveError(f"{where}: damaged (cut)")
        return data

    def _find(self, name: str) -> Any:
        if entry := self._index.get(name):
            return entry
        basename = _basename(name)
        if basename not in self._index:
            return None
        entry = self._index[basename]
        if entry is None:
            raise ArchiveError(f"{self.path.name}: holds several members called {basename}; name the folder too")
        return entry


@contextmanager
def open_members(path: Path) -> Iterator[Members]:
    """Open a zip or tar archive to read members in place; ArchiveError where it is cut, hostile, or no archive.

    A gzipped tar is inflated from its start whenever a read goes backwards: read it in the order of `names`.
    """
    unexpected.refuse(path, kind=unexpected.ARCHIVE)
    is_zip = path.name.lower().endswith((".zip", ".npz"))
    with ExitStack() as stack:
        try:
            members = (_open_zip if is_zip else _open_tar)(path, stack)
        except (*_DAMAGE, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # not there, or not to be read
                raise
            raise ArchiveError(f"{path}: not a whole archive ({_describe(error)}); copy it again") from None
        yield members


@contextmanager
def open_inner(members: Members, name: str) -> Iterator[Members]:
    """Open a zip that is a member of another archive, as `open_members` does; it is taken into memory whole."""
    with ExitStack() as stack:
        data = members.read(name)
        unexpected.refuse(members.path / name, data, unexpected.ARCHIVE)
        try:
            inner = _open_zip(members.path / name, stack, data)
        except zips.DAMAGE as error:
            raise ArchiveError(f"{members.path}: {name}: not a whole archive ({_describe(error)})") from None
        yield inner


def _open_zip(path: Path, stack: ExitStack, data: bytes | None = None) -> Members:
    directory = zips.Directory()
    members = Members(path, directory.unpack, lambda info: zips.read_member(archive, info))
    archive = zips.open_zip(path, stack, lambda info: members.add(info, directory.pack(info)), data)
    return members


def _open_tar(path: Path, stack: ExitStack) -> Members:
    archive, infos = tars.open_tar(path, stack)
    members = Members(path, lambda info: cast(_Info, info), lambda info: tars.read_member(archive, info))
    for info in infos:
        members.add(info, info)
    return members


def _name(info: _Info) -> str:
    return info.filename if isinstance(info, zipfile.ZipInfo) else info.name


def _size_bytes(info: _Info) -> int:
    return info.file_size if isinstance(info, zipfile.ZipInfo) else info.size


class Pictures(Protocol):
    """Pictures by name, wherever they lie."""

    def find(self, name: str) -> Image | None:
        """The picture of that name, its bytes or its path; None where it is absent, ArchiveError where damaged."""


class _ArchivedPictures:
    def __init__(self, members: Members) -> None:
        self._members = members

    def find(self, name: str) -> Image | None:
        for spelled in _spellings(name):
            if self._members.find(spelled):
                return Image(_basename(name), data=self._members.read(spelled))
        return None


class _FolderPictures:
    def __init__(self, folder: Path) -> None:
        self._folders = [inner for inner, _, _ in walk(folder)]

    def find(self, name: str) -> Image | None:
        basename = _basename(name)
        if basename in ("", "..") or len(basename.encode(errors="replace")) > 255:  # no file system has longer names
            return None
        for spelled in _spellings(basename):
            for folder in self._folders:
                if (folder / spelled).is_file():
                    return Image(basename, path=folder / spelled)
        return None


class _NoPictures:
    def find(self, name: str) -> Image | None:
        return None


def open_pictures(raw: Path, *places: str) -> AbstractContextManager[Pictures]:
    """Pictures from the first of `places` that is there: a folder or an archive below `raw`. None there: all absent."""
    for place in (raw / name for name in places):
        if place.is_dir():
            return nullcontext(cast(Pictures, _FolderPictures(place)))
        if place.is_file():
            return _open_archived(place)
    return nullcontext(cast(Pictures, _NoPictures()))


def pictures_in(members: Members) -> Pictures:
    """The pictures of an archive that is open already."""
    return _ArchivedPictures(members)


@contextmanager
def _open_archived(path: Path) -> Iterator[Pictures]:
    with open_members(path) as members:
        yield _ArchivedPictures(members)


def _basename(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name


def _spellings(name: str) -> Iterator[str]:
    """The name, then with its ending in capitals or not: some systems write `.JPG`."""
    yield name
    stem, dot, ending = name.rpartition(".")
    for other in (ending.lower(), ending.upper()):
        if dot and other != ending:
            yield f"{stem}.{other}"


def _refuse_unsafe_name(path: Path, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or parts[0].endswith(":") or "\0" in name:
        raise ArchiveError(f"{path}: {name!r} points out of the archive; refused, get the archive from its publisher")


def _describe(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
