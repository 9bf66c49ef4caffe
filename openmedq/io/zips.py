"""Zips, read in place: a directory that stays small, and members whose stated sizes are held to.

Members are stored or deflated, as published zips are: bz2 and lzma can't be unpacked a piece at a time, and 3 KB of
them hold 4 GB.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from openmedq.errors import ArchiveError
from openmedq.io.limits import refuse_expansion

# What `zipfile` lets through of damaged bytes; RuntimeError where a flag says encrypted, or a method is none.
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError)

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PACKED = struct.Struct("<qQQIHHI")  # place, size in the archive, size, checksum, method, flags, number of the folder


def open_zip(
    path: Path, stack: ExitStack, take: Callable[[zipfile.ZipInfo], None], data: bytes | None = None
) -> zipfile.ZipFile:
    """Open the zip at `path`, or which `data` are, and give its files to `take` one by one.

    ArchiveError for a member that is a link, encrypted, of another method, or a bomb; DAMAGE where it is no whole zip.
    """
    archive_bytes = path.stat().st_size if data is None else len(data)

    def take_safe(info: zipfile.ZipInfo) -> None:
        if not info.filename.endswith("/"):  # `is_dir` takes no empty name
            _refuse_unsafe(path, info, archive_bytes)
            take(info)

    return stack.enter_context(_Zip(path if data is None else io.BytesIO(data), take_safe))


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The bytes of a member, no more than it says that it has."""
    with archive.open(info) as file:
        return file.read(info.file_size + 1)  # one more: only at its end is the checksum looked at


class Directory:
    """The members of a zip in 120 bytes each: a `ZipInfo` takes 500, and PMC-OA has 1.6 million."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._folders: list[str] = []

    def pack(self, info: zipfile.ZipInfo) -> bytes | zipfile.ZipInfo:
        """What reading a member takes; the info itself where its name is not the one in front of its bytes."""
        if info.filename != info.orig_filename:
            return info
        folder, slash, name = info.filename.rpartition("/")
        number = self._numbers.setdefault(folder + slash, len(self._folders))
        if number == len(self._folders):
            self._folders.append(folder + slash)
        sizes = info.compress_size, info.file_size
        packed = _PACKED.pack(info.header_offset, *sizes, info.CRC, info.compress_type, info.flag_bits, number)
        return packed + name.encode()

    def unpack(self, entry: bytes | zipfile.ZipInfo) -> zipfile.ZipInfo:
        """The member as `zipfile` reads it."""
        if isinstance(entry, zipfile.ZipInfo):
            return entry
        place, compress_size, size, checksum, method, flags, number = _PACKED.unpack_from(entry)
        info = zipfile.ZipInfo(self._folders[number] + entry[_PACKED.size :].decode())
        info.header_offset, info.compress_size, info.file_size = place, compress_size, size
        info.CRC, info.compress_type, info.flag_bits = checksum, method, flags
        return info


class _Taken(list[zipfile.ZipInfo]):
    """The list of a zip's members that is none: what is appended is handed on."""

    def __init__(self, take: Callable[[zipfile.ZipInfo], None]) -> None:
        super().__init__()
        self._take = take

    def append(self, info: zipfile.ZipInfo) -> None:
        self._take(info)


class _Zip(zipfile.ZipFile):
    """A zip that hands its members on while its directory is read, and keeps none of them."""

    def __init__(self, file: Path | IO[bytes], take: Callable[[zipfile.ZipInfo], None]) -> None:
        self._taken = _Taken(take)
        super().__init__(file)

    filelist = property(lambda self: self._taken, lambda self, value: None)
    NameToInfo = property(lambda self: {}, lambda self, value: None)


def _refuse_unsafe(path: Path, info: zipfile.ZipInfo, archive_bytes: int) -> None:
    if stat.S_ISLNK(info.external_attr >> 16):
        raise ArchiveError(f"{path}: {info.filename!r} is a link; refused, get the archive from its publisher")
    if info.flag_bits & 0x1:
        raise ArchiveError(f"{path}: {info.filename!r} is encrypted; unpack it by hand")
    if info.compress_type not in _METHODS:
        how = f"packed by method {info.compress_type}; only stored and deflate are read, pack it anew"
        raise ArchiveError(f"{path}: {info.filename!r} is {how}")
    refuse_expansion(path, repr(info.filename), info.file_size, min(info.compress_size, archive_bytes))
