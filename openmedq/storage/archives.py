"""Zips and tars, read in place: nothing is extracted to disk, and no header is trusted.

An archive is refused whole when it is opened if it is cut, or if a member is a link or a device, is encrypted, expands
absurdly, stands twice, or has a name that leads out of the archive. Zip members are stored or deflated: 3 KB of bz2 or
lzma hold 4 GB. Tars are plain or gzipped, by their first bytes, whatever their name. `zipfile` and `tarfile` would take
in a directory or a name of any size, so they read it through a file that bounds it.

While a zip is open, each member takes less than 1 KB of memory: 1.2 GB for the 1.65 million of PMC-OA.
"""

from __future__ import annotations

import errno
import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from openmedq.errors import ArchiveError
from openmedq.storage import unexpected
from openmedq.storage.folders import is_junk

MAX_MEMBER_BYTES = 2**30  # that `read` takes into memory
MAX_MEMBERS = 2**22  # PMC-OA has 1.65 million
MAX_DIRECTORY_BYTES = 2**29  # of a zip's directory, or of all headers of a tar; PMC-OA has 0.2 GB
MAX_HEADER_BYTES = 2**16  # of one member of a tar, with its long name and pax records; a path has at most 4,096
MAX_EXPANSION = 200  # deflate reaches 1,032 on zeros; images and tables stay below 20
SMALL_BYTES = 2**20  # below this, expansion is no danger

_GZIP, _ZIP, _ZIP_ENTRY = b"\x1f\x8b", b"PK\x03\x04", b"PK\x01\x02"  # first bytes
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# RuntimeError is for a flag that says encrypted, or an unknown method.
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error),
    *(EOFError, RuntimeError, ValueError, OverflowError),
)

_Info = zipfile.ZipInfo | tarfile.TarInfo


class Members:
    """The files of an open archive. A name is a member's path or, where only one is called so, its last part.

    Backslashes, which Windows programs write, count as slashes. What operating systems add is left out.
    """

    def __init__(self, path: Path, infos: Iterable[_Info], open_info: Callable[[Any], IO[bytes] | None]) -> None:
        """Index the members; ArchiveError for one that has no place in an archive."""
        self.path = path
        self._open_info = open_info
        self._infos: dict[str, _Info] = {}  # by path
        self._paths: dict[str, str | None] = {}  # by last part; None where several members share it
        for info in infos:
            name = _to_path(_name(info))
            _refuse_unsafe_name(path, name)
            if is_junk(name):
                continue
            if name in self._infos:
                raise ArchiveError(f"{path}: holds {name!r} twice; get the archive from its publisher")
            self._infos[name] = info
            basename = _basename(name)
            self._paths[basename] = None if basename in self._paths else name

    @property
    def names(self) -> list[str]:
        """Paths of the members, in the order of the archive."""
        return list(self._infos)

    def find(self, name: str) -> str | None:
        """The path of the member with that name; None if there is none, ArchiveError if several share the last part."""
        name = _to_path(name)
        basename = _basename(name)
        for path in (name, basename):
            if path in self._infos:
                return path
        if basename in self._paths and self._paths[basename] is None:
            raise ArchiveError(f"{self.path.name}: holds several members called {basename}; name the folder too")
        return self._paths.get(basename)

    def read(self, name: str) -> bytes:
        """The bytes of a member; ArchiveError if there is none, or it is damaged or too large for memory."""
        path = self._find(name)
        where, size_bytes = f"{self.path.name}: {path}", _size_bytes(self._infos[path])
        if size_bytes > MAX_MEMBER_BYTES:
            raise ArchiveError(f"{where}: {size_bytes} bytes are too many to take in")
        with self.open(path) as file:
            data = file.read(size_bytes + 1)  # one more: `zipfile` compares the checksum at the end
        if len(data) != size_bytes:
            raise ArchiveError(f"{where}: damaged (cut)")
        return data

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A member as a file, to be streamed; ArchiveError, also while it is read, as `read` raises it."""
        path = self._find(name)
        with _blame(f"{self.path.name}: {path}: damaged"):
            file = self._open_info(self._infos[path])
            assert file is not None  # `tarfile` has None for folders, which are no members here
            with file:
                yield file

    def _find(self, name: str) -> str:
        path = self.find(name)
        if path is None:
            raise ArchiveError(f"{self.path.name}: no member {name!r}")
        return path


@dataclass(frozen=True)
class MemberPath:
    """A member of the archive at `archive`, to be opened where a `Path` is expected."""

    archive: Path
    member: str

    def __str__(self) -> str:
        return f"{self.archive}: {self.member}"

    @contextmanager
    def open(self, mode: str = "rb") -> Iterator[IO[bytes]]:
        """The member as a file; ArchiveError where the archive or the member is damaged."""
        assert mode == "rb"
        with open_members(self.archive) as members, members.open(self.member) as file:
            yield file


@contextmanager
def open_members(path: Path) -> Iterator[Members]:
    """Open a zip or tar archive to read members in place; ArchiveError where it is cut, hostile, or no archive.

    A gzipped tar is inflated from its start whenever a read goes backwards: read it in the order of `names`.
    """
    unexpected.refuse(path, kind=unexpected.ARCHIVE)
    with ExitStack() as stack:
        with _blame(f"{path}: not a whole archive", "; copy it again"):
            file: IO[bytes] = stack.enter_context(path.open("rb"))
            head = file.read(len(_ZIP))
            file.seek(0)
            is_zip = head == _ZIP or path.name.lower().endswith((".zip", ".npz"))
            if not is_zip and head.startswith(_GZIP):
                file = stack.enter_context(cast(IO[bytes], gzip.GzipFile(fileobj=file)))
            members = (_open_zip if is_zip else _open_tar)(path, file, stack)
        yield members


@contextmanager
def open_inner(members: Members, name: str) -> Iterator[Members]:
    """Open a zip that is a member of another archive, as `open_members` does; it is taken into memory whole."""
    with ExitStack() as stack:
        data = members.read(name)
        unexpected.refuse(members.path / name, data, unexpected.ARCHIVE)
        with _blame(f"{members.path}: {name}: not a whole archive"):
            inner = _open_zip(members.path / name, io.BytesIO(data), stack)
        yield inner


class _Directory:
    """A zip as `zipfile` reads its directory: in one piece, of the size that the end of the zip declares."""

    is_open = False  # then members are read

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, num_bytes: int = -1) -> bytes:
        """The next bytes; ArchiveError where they are a directory that is too large for memory."""
        if not self.is_open and num_bytes > MAX_DIRECTORY_BYTES:
            raise ArchiveError(f"{self._path}: a directory of {num_bytes} bytes: a bomb, or damage; refused")
        data = self._file.read(num_bytes)
        if not self.is_open and data.count(_ZIP_ENTRY) > MAX_MEMBERS:
            raise ArchiveError(f"{self._path}: has more than {MAX_MEMBERS} members; refused")
        return data


class _Headers:
    """A tar as `tarfile` goes through its headers; what it reads in one go, and how far it skips, is bounded."""

    is_open = False  # then members are read

    def __init__(self, path: Path, file: IO[bytes], archive_bytes: int) -> None:
        self.num_read = 0  # bytes, of the member that comes next
        self.last = b""  # that was read
        self._num_read_all = 0
        self._path = path
        self._file = file
        self._archive_bytes = archive_bytes
        self.tell, self.seekable = file.tell, file.seekable

    def seek(self, place: int, whence: int = 0) -> int:
        """Skip a member; ArchiveError where that would unpack a bomb, or lead backwards."""
        if not self.is_open:
            if place < self._file.tell():
                raise ArchiveError(f"{self._path}: a header leads backwards; refused, copy it again")
            _refuse_expansion(self._path, "its content", place, self._archive_bytes)
        return self._file.seek(place, whence)

    def read(self, num_bytes: int = -1) -> bytes:
        """The next bytes; ArchiveError where a member's header asks for more than one can have."""
        if self.is_open:
            return self._file.read(num_bytes)
        self.num_read += num_bytes
        self._num_read_all += num_bytes
        if num_bytes < 0 or self.num_read > MAX_HEADER_BYTES or self._num_read_all > MAX_DIRECTORY_BYTES:
            most = MAX_DIRECTORY_BYTES if self._num_read_all > MAX_DIRECTORY_BYTES else MAX_HEADER_BYTES
            where = f"{self._path}: the header at byte {self._file.tell()}"
            raise ArchiveError(f"{where} has more than {most} bytes: a bomb, or damage; refused")
        self.last = self._file.read(num_bytes)
        return self.last


def _open_zip(path: Path, file: IO[bytes], stack: ExitStack) -> Members:
    directory = _Directory(path, file)
    archive = stack.enter_context(zipfile.ZipFile(cast(IO[bytes], directory)))
    directory.is_open = True
    archive_bytes = file.seek(0, io.SEEK_END)
    infos = [info for info in archive.infolist() if not _to_path(info.filename).endswith("/")]
    for info in infos:
        _refuse_unsafe(path, info, archive_bytes)
    return Members(path, infos, archive.open)


def _open_tar(path: Path, file: IO[bytes], stack: ExitStack) -> Members:
    archive_bytes = path.stat().st_size
    headers = _Headers(path, file, archive_bytes)
    archive = stack.enter_context(tarfile.TarFile(fileobj=cast(IO[bytes], headers)))
    infos: list[tarfile.TarInfo] = []
    num_bytes = 0
    for number, info in enumerate(archive, start=1):
        headers.num_read = 0
        if number > MAX_MEMBERS:
            raise ArchiveError(f"{path}: has more than {MAX_MEMBERS} members; refused")
        if info.size < 0:
            raise ArchiveError(f"{path}: {info.name!r} declares a negative size; refused, copy it again")
        if not info.isdir():
            if not info.isreg():
                raise ArchiveError(f"{path}: {info.name!r} is a link or a device; refused, unpack it by hand")
            num_bytes += info.size
            _refuse_expansion(path, "its content", num_bytes, archive_bytes)
            infos.append(info)
    headers.is_open = True
    # `tarfile` takes the end of the file, or a header that it can't read, for the end of the archive.
    if headers.last != bytes(tarfile.BLOCKSIZE):
        raise ArchiveError(f"{path}: not a whole tar archive (its end is missing); copy it again")
    file.read(SMALL_BYTES)  # to the end, where gzip compares its checksum
    return Members(path, infos, archive.extractfile)


def _refuse_unsafe(path: Path, info: zipfile.ZipInfo, archive_bytes: int) -> None:
    if stat.S_ISLNK(info.external_attr >> 16):
        raise ArchiveError(f"{path}: {info.filename!r} is a link; refused, get the archive from its publisher")
    if info.flag_bits & 0x1:
        raise ArchiveError(f"{path}: {info.filename!r} is encrypted; unpack it by hand")
    if info.compress_type not in _METHODS:
        how = f"packed by method {info.compress_type}; only stored and deflate are read, pack it anew"
        raise ArchiveError(f"{path}: {info.filename!r} is {how}")
    _refuse_expansion(path, repr(info.filename), info.file_size, min(info.compress_size, archive_bytes))


def _refuse_expansion(path: Path, what: str, size_bytes: int, packed_bytes: int) -> None:
    if size_bytes > max(SMALL_BYTES, packed_bytes * MAX_EXPANSION):
        raise ArchiveError(f"{path}: {what} would grow from {packed_bytes} to {size_bytes} bytes: a bomb; refused")


def _refuse_unsafe_name(path: Path, name: str) -> None:
    parts = name.split("/")
    if parts[0] == "" or ".." in parts or parts[0].endswith(":") or "\0" in name:
        raise ArchiveError(f"{path}: {name!r} points out of the archive; refused, get the archive from its publisher")


def _name(info: _Info) -> str:
    return info.filename if isinstance(info, zipfile.ZipInfo) else info.name


def _size_bytes(info: _Info) -> int:
    return info.file_size if isinstance(info, zipfile.ZipInfo) else info.size


def _to_path(name: str) -> str:
    return name.replace("\\", "/")


def _basename(name: str) -> str:
    return name.rpartition("/")[2]


@contextmanager
def _blame(what: str, advice: str = "") -> Iterator[None]:
    """Turn what damaged bytes raise into one line; EINVAL is a place before the file's first byte."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ArchiveError(f"{what} ({' '.join(str(error).split()) or type(error).__name__}){advice}") from None
