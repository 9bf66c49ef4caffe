"""Tars, plain or gzipped, read in place: refused while their headers are gone through, before a member is unpacked.

By their first bytes, whatever the name: bz2 and xz are not asked, since 100 bytes of them hold 100 MB.
"""

from __future__ import annotations

import gzip
import struct
import tarfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

from openmedq.errors import ArchiveError
from openmedq.io.limits import SMALL_BYTES, refuse_expansion

DAMAGE = (tarfile.TarError, zlib.error, struct.error, EOFError, ValueError, OverflowError)

MAX_HEADER_BYTES = 2**16  # of a member, with its long name and pax records: a path has at most 4,096

_GZIP = b"\x1f\x8b"


def open_tar(path: Path, stack: ExitStack) -> tuple[tarfile.TarFile, list[tarfile.TarInfo]]:
    """Open a tar, and its files; ArchiveError where it is cut, a bomb, or holds a link, DAMAGE where it is none."""
    with path.open("rb") as raw:
        is_gzip = raw.read(len(_GZIP)) == _GZIP
    opened = gzip.GzipFile(path) if is_gzip else path.open("rb")
    file = stack.enter_context(cast(IO[bytes], opened))
    headers = _Headers(path, file)
    archive = stack.enter_context(tarfile.TarFile(fileobj=cast(IO[bytes], headers)))
    infos, num_bytes, packed_bytes = [], 0, path.stat().st_size
    for info in archive:
        headers.num_read = 0
        if info.size < 0 or archive.offset <= info.offset:
            raise ArchiveError(f"{path}: {info.name!r} says that it is smaller than nothing; refused, copy it again")
        num_bytes += info.size if info.isreg() else 0  # a folder's is a hint
        refuse_expansion(path, "its content", max(num_bytes, archive.offset), packed_bytes)  # what a skip would unpack
        if info.isdir():
            continue
        if not info.isreg():
            raise ArchiveError(f"{path}: {info.name!r} is a link or a device; refused, unpack it by hand if you must")
        infos.append(info)
    archive.fileobj = file
    _refuse_cut(path, archive, file)
    return archive, infos


def read_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    """The bytes of a member."""
    file = archive.extractfile(info)
    return file.read() if file else b""


class _Headers:
    """What `tarfile` reads while it goes through the headers; it would take in a name of 2 GB."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self.num_read = 0  # bytes, of the member that comes next
        self.seek, self.tell = file.seek, file.tell

    def read(self, num_bytes: int) -> bytes:
        """The next bytes; ArchiveError where a member's header asks for more than one can have."""
        self.num_read += num_bytes
        if num_bytes < 0 or self.num_read > MAX_HEADER_BYTES:
            where = f"{self._path}: the header at byte {self._file.tell()}"
            raise ArchiveError(f"{where} has more than {MAX_HEADER_BYTES} bytes: a bomb, or damage; refused")
        return self._file.read(num_bytes)


def _refuse_cut(path: Path, archive: tarfile.TarFile, file: IO[bytes]) -> None:
    """A tar ends with blocks of zeros; one that was cut between two members is read without complaint otherwise."""
    file.seek(archive.offset)
    if not file.read(SMALL_BYTES).startswith(bytes(tarfile.BLOCKSIZE)):  # a gzipped one checks its sum at the end
        raise ArchiveError(f"{path}: not a whole tar archive (its end is missing); copy it again")
