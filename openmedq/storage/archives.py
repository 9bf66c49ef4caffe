"""Read zip and tar archives in place. Nothing is extracted to disk, and headers are untrusted.

An archive is refused when it is opened if it is truncated, or if a member is a link or a device, is encrypted, exceeds
the compression ratio, appears twice, or has a name that points out of the archive. Zip members are stored or deflated
(3 KB of bz2 or lzma can hold 4 GB); tars are plain or gzipped, whatever their name. `zipfile` and `tarfile` would read
a directory or a name of any size, so they read through a file object that limits both. An open zip takes less than
1 KB of memory per member: 1.2 GB for the 1.65 million members of PMC-OA.
"""

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

from openmedq.errors import ArchiveError, shorten
from openmedq.storage import unexpected
from openmedq.storage.folders import is_junk

MAX_MEMBER_BYTES = 2**30  # that `read` takes into memory
MAX_MEMBERS = 2**22  # PMC-OA has 1.65 million
MAX_DIRECTORY_BYTES = 2**29  # of a zip's directory, or of all headers of a tar; PMC-OA has 0.2 GB
MAX_HEADER_BYTES = 2**16  # of a tar member, with its long name and pax records; a path has at most 4,096
MAX_EXPANSION = 200  # deflate reaches 1,032 on zeros; images and tables stay below 20
SMALL_BYTES = 2**20  # below this size the expansion is not limited

_GZIP, _ZIP, _ZIP_ENTRY = b"\x1f\x8b", b"PK\x03\x04", b"PK\x01\x02"  # first bytes
_OTHERS = {b"7z\xbc\xaf": "7z", b"Rar!": "RAR", b"\xfd7zX": "xz", b"(\xb5/\xfd": "Zstandard"}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# `zipfile` raises RuntimeError for an encryption flag or an unknown method.
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error),
    *(EOFError, RuntimeError, ValueError, OverflowError),
)

_Info = zipfile.ZipInfo | tarfile.TarInfo


class Members:
    """The files of an open archive, by path, or by file name where only one member has it.

    Backslashes, which Windows programs write, count as slashes. Files of operating systems are left out.
    """

    def __init__(self, path: Path, infos: Iterable[_Info], open_info: Callable[[Any], IO[bytes] | None]) -> None:
        """Index the members; ArchiveError for an unsafe or a repeated name."""
        self.path = path
        self._open_info = open_info
        self._infos: dict[str, _Info] = {}  # by path
        self._paths: dict[str, str | None] = {}  # by file name; None where several members have it
        for info in infos:
            name = (info.filename if isinstance(info, zipfile.ZipInfo) else info.name).replace("\\", "/")
            parts = name.split("/")
            if parts[0] == "" or ".." in parts or parts[0].endswith(":") or "\0" in name:
                problem = "points out of the archive; refused, get the archive from its publisher"
                raise ArchiveError(f"{path}: {name!r} {problem}")
            if is_junk(name):
                continue
            if name in self._infos:
                raise ArchiveError(f"{path}: contains {name!r} twice; get the archive from its publisher")
            self._infos[name] = info
            basename = name.rpartition("/")[2]
            self._paths[basename] = None if basename in self._paths else name

    @property
    def names(self) -> list[str]:
        """Paths of the members, in the order of the archive."""
        return list(self._infos)

    def find(self, name: str) -> str | None:
        """The path of the member with that path or file name, or None; ArchiveError if several have the file name."""
        name = name.replace("\\", "/")
        basename = name.rpartition("/")[2]
        for path in (name, basename):
            if path in self._infos:
                return path
        if basename in self._paths and self._paths[basename] is None:
            raise ArchiveError(f"{self.path.name}: holds several members called {basename}; name the folder too")
        return self._paths.get(basename)

    def read(self, name: str) -> bytes:
        """The bytes of a member; ArchiveError if it is missing, damaged, or too large for memory."""
        path = self._find(name)
        info, where = self._infos[path], f"{self.path.name}: {path}"
        size_bytes = info.file_size if isinstance(info, zipfile.ZipInfo) else info.size
        if size_bytes > MAX_MEMBER_BYTES:
            raise ArchiveError(f"{where}: {size_bytes} bytes are too many to read into memory; unpack the archive")
        with self.open(path) as file:
            data = file.read(size_bytes + 1)  # one more: `zipfile` compares the checksum at the end
        if len(data) != size_bytes:
            raise ArchiveError(f"{where}: damaged (truncated); copy the archive again")
        return data

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A member as a file, for streaming; ArchiveError as `read`, also while the file is read."""
        path = self._find(name)
        with _damage_as_error(f"{self.path.name}: {path}: damaged"):
            file = self._open_info(self._infos[path])
            assert file is not None  # `tarfile` returns None only for folders, which are not members
            with file:
                yield file

    def _find(self, name: str) -> str:
        if (path := self.find(name)) is None:
            raise ArchiveError(f"{self.path.name}: no member {name!r}")
        return path


@dataclass(frozen=True)
class MemberPath:
    """A member of the archive at `archive`, which can be opened like a `Path`."""

    archive: Path
    member: str

    def __str__(self) -> str:
        return f"{self.archive}: {self.member}"

    @contextmanager
    def open(self, mode: str = "rb") -> Iterator[IO[bytes]]:
        """The member as a file; ArchiveError if the archive or the member is damaged."""
        assert mode == "rb"
        with open_members(self.archive) as members, members.open(self.member) as file:
            yield file


@contextmanager
def open_members(path: Path) -> Iterator[Members]:
    """Open a zip or tar archive; ArchiveError if it is truncated, unsafe, or not an archive.

    A gzipped tar is inflated from its start at each seek backwards: read its members in the order of `names`.
    """
    unexpected.refuse(path, kind=unexpected.ARCHIVE)
    with ExitStack() as stack:
        with _damage_as_error(f"{path}: not a whole archive"):
            file: IO[bytes] = stack.enter_context(path.open("rb"))
            head = file.read(len(_ZIP))
            file.seek(0)
            if head in _OTHERS:
                raise ArchiveError(f"{path} is {_OTHERS[head]}; only zip, tar and tar.gz are read: unpack it there")
            is_zip = head == _ZIP or path.name.lower().endswith((".zip", ".npz"))
            if not is_zip and head.startswith(_GZIP):
                file = stack.enter_context(cast(IO[bytes], gzip.GzipFile(fileobj=file)))
            members = (_open_zip if is_zip else _open_tar)(path, file, stack)
        yield members


@contextmanager
def open_inner(members: Members, name: str) -> Iterator[Members]:
    """Open a zip that is a member of another archive, as `open_members`; the inner zip is read into memory."""
    with ExitStack() as stack:
        data = members.read(name)
        unexpected.refuse(members.path / name, data, unexpected.ARCHIVE)
        with _damage_as_error(f"{members.path}: {name}: not a whole archive"):
            inner = _open_zip(members.path / name, io.BytesIO(data), stack)
        yield inner


class _LimitedZip:
    """A zip file for `zipfile`, which reads the directory in one piece, of the size that the end of the zip states."""

    is_limited = True  # until the directory is read

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, num_bytes: int = -1) -> bytes:
        """The next bytes; ArchiveError if the directory is too large for memory."""
        if self.is_limited and num_bytes > MAX_DIRECTORY_BYTES:
            raise ArchiveError(
                f"{self._path}: a directory of {num_bytes} bytes: a bomb, or damage; refused, get it again"
            )
        data = self._file.read(num_bytes)
        if self.is_limited and data.count(_ZIP_ENTRY) > MAX_MEMBERS:
            raise ArchiveError(
                f"{self._path}: has more than {MAX_MEMBERS} members; refused, get the archive from its publisher"
            )
        return data


class _LimitedTar:
    """A tar file for `tarfile`, which reads header by header; limits the size of a header and the length of a seek."""

    is_limited = True  # until all headers are read

    def __init__(self, path: Path, file: IO[bytes], archive_bytes: int) -> None:
        self.num_read = 0  # bytes of the current member's header
        self.last = b""  # last block read
        self._num_read_all = 0
        self._path = path
        self._file = file
        self._archive_bytes = archive_bytes
        self.tell, self.seekable = file.tell, file.seekable

    def seek(self, place: int, whence: int = 0) -> int:
        """Skip a member; ArchiveError for a seek backwards, or one that would inflate a bomb."""
        if self.is_limited:
            if place < self._file.tell():
                raise ArchiveError(f"{self._path}: a header leads backwards; refused, copy it again")
            _refuse_expansion(self._path, "its content", place, self._archive_bytes)
        return self._file.seek(place, whence)

    def read(self, num_bytes: int = -1) -> bytes:
        """The next bytes; ArchiveError if a header is larger than a header can be."""
        if not self.is_limited:
            return self._file.read(num_bytes)
        self.num_read += num_bytes
        self._num_read_all += num_bytes
        if num_bytes < 0 or self.num_read > MAX_HEADER_BYTES or self._num_read_all > MAX_DIRECTORY_BYTES:
            most = MAX_DIRECTORY_BYTES if self._num_read_all > MAX_DIRECTORY_BYTES else MAX_HEADER_BYTES
            where = f"{self._path}: the header at byte {self._file.tell()}"
            raise ArchiveError(f"{where} has more than {most} bytes: a bomb, or damage; refused, get it again")
        self.last = self._file.read(num_bytes)
        return self.last


def _open_zip(path: Path, file: IO[bytes], stack: ExitStack) -> Members:
    limited = _LimitedZip(path, file)
    archive = stack.enter_context(zipfile.ZipFile(cast(IO[bytes], limited)))
    limited.is_limited = False
    archive_bytes = file.seek(0, io.SEEK_END)
    infos = [info for info in archive.infolist() if not info.filename.endswith(("/", "\\"))]
    for info in infos:
        _refuse_unsafe(path, info, archive_bytes)
    return Members(path, infos, archive.open)


def _open_tar(path: Path, file: IO[bytes], stack: ExitStack) -> Members:
    archive_bytes = path.stat().st_size
    limited = _LimitedTar(path, file, archive_bytes)
    archive = stack.enter_context(tarfile.TarFile(fileobj=cast(IO[bytes], limited)))
    infos: list[tarfile.TarInfo] = []
    num_bytes = 0
    for number, info in enumerate(archive, start=1):
        limited.num_read = 0
        if number > MAX_MEMBERS:
            raise ArchiveError(
                f"{path}: has more than {MAX_MEMBERS} members; refused, get the archive from its publisher"
            )
        if info.size < 0:
            raise ArchiveError(f"{path}: {info.name!r} has a negative size; refused, copy it again")
        if not info.isdir():
            if not info.isreg():
                raise ArchiveError(f"{path}: {info.name!r} is a link or a device; refused, unpack it by hand")
            num_bytes += info.size
            _refuse_expansion(path, "its content", num_bytes, archive_bytes)
            infos.append(info)
    limited.is_limited = False
    # `tarfile` takes the end of the file, or a damaged header, for the end of the archive.
    if limited.last != bytes(tarfile.BLOCKSIZE):
        raise ArchiveError(f"{path}: not a whole tar archive (its end is missing); copy it again")
    file.read(SMALL_BYTES)  # to the end of the file, where gzip compares its checksum
    return Members(path, infos, archive.extractfile)


def _refuse_unsafe(path: Path, info: zipfile.ZipInfo, archive_bytes: int) -> None:
    if info.header_offset < 0 or info.volume:
        reason = "it lacks its beginning, or is the last of several parts"
        raise ArchiveError(f"{path}: not a whole archive ({reason}); join the parts, or copy it again")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise ArchiveError(f"{path}: {info.filename!r} is a link; refused, get the archive from its publisher")
    if info.flag_bits & 0x1:
        raise ArchiveError(f"{path}: {info.filename!r} is encrypted; unpack it by hand")
    if info.compress_type not in _METHODS:
        how = f"packed by method {info.compress_type}; only stored and deflate are read, pack it again"
        raise ArchiveError(f"{path}: {info.filename!r} is {how}")
    _refuse_expansion(path, repr(info.filename), info.file_size, min(info.compress_size, archive_bytes))


def _refuse_expansion(path: Path, what: str, size_bytes: int, packed_bytes: int) -> None:
    if size_bytes > max(SMALL_BYTES, packed_bytes * MAX_EXPANSION):
        raise ArchiveError(
            f"{path}: {what} would grow from {packed_bytes} to {size_bytes} bytes: a bomb; "
            "refused, get the archive from its publisher"
        )


@contextmanager
def _damage_as_error(what: str) -> Iterator[None]:
    """Turn the exceptions of damaged archives into a one-line ArchiveError."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        # EINVAL is a seek to before the first byte; other numbers are errors of the file system.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ArchiveError(f"{what} ({shorten(error) or type(error).__name__}); copy the archive again") from None
