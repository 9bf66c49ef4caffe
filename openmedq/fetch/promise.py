"""What a file was promised to be, held against what a server sends: size, hashes, and that it is a file at all."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import aiohttp

from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError, ChecksumError
from openmedq.fetch.addresses import plain

BOUNDS = (0.5, 2.0)  # of a size that is known roughly
START_BYTES = 1024  # of a file, that tell it from a page
PAGE = re.compile(
    rb"(?>\xef\xbb\xbf|\xff\xfe|\xfe\xff|\s|<!--.*?-->|<\?.*?\?>)*+"
    rb"<(?:!doctype\s+html|html|head|body|title|meta|script)\b",
    re.IGNORECASE | re.DOTALL,
)
PAGE_TYPES = ("text/html", "application/xhtml+xml")
POINTER = b"version https://git-lfs.github.com/spec/"
JSON_ENDS = {b"{": b"}", b"[": b"]"}
BEGINNINGS = {".zip": b"PK", ".npz": b"PK", ".gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b", ".parquet": b"PAR1"}


def size_bounds(file: File) -> tuple[float, float]:
    """What a file's size may be, in bytes."""
    if file.size_bytes is not None:
        return file.size_bytes, file.size_bytes
    if file.about_bytes is not None:
        return file.about_bytes * BOUNDS[0], file.about_bytes * BOUNDS[1]
    return 0, float("inf")


def check_size(file: File, num_bytes: int | None, *, is_whole: bool = True) -> None:
    """Hold a size to the promised one or, where that is a rounded one, to its bounds."""
    if num_bytes is None:
        return
    low, high = size_bounds(file)
    if num_bytes > high or (is_whole and num_bytes < low):
        expected = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
        raise AcquisitionError(
            f"{file.path}: {plain(file.url)} gives {num_bytes} bytes, expected {expected}; it is not the published file"
        )


def check_start(file: File, content_type: str, start: bytes) -> None:
    """Refuse a page in place of a file: a login, a notice, an error that is called 200; by `start`, as far as it came.

    Where no hash tells, what its server calls it counts too, and an archive has to begin as one.
    """
    start = start[:START_BYTES]
    has_hash = bool(file.sha256 or file.md5)
    is_page = PAGE.match(start.replace(b"\0", b""))  # which UTF-16 has at every other place
    is_called_page = not has_hash and content_type.partition(";")[0].strip().lower() in PAGE_TYPES
    name = file.path.lower()
    if (is_page or is_called_page) and not name.endswith((".html", ".htm")):
        raise AcquisitionError(
            f"{file.path}: {plain(file.url)} answers with a web page in place of the file; it may want a login or be "
            "down: look at it"
        )
    if not has_hash and not _begins_well(name, start):
        raise AcquisitionError(
            f"{file.path}: {plain(file.url)} gives what does not begin as a {PurePosixPath(name).suffix} file does; it "
            "may want a login or be down: look at it"
        )


def check_whole(file: File, path: Path) -> None:
    """AcquisitionError where a file is not whole: it must not be recorded as the published one."""
    if not is_whole(file, path):
        raise AcquisitionError(
            f"{file.path}: {plain(file.url)} gives a file that is cut, or is no {PurePosixPath(file.path).suffix} "
            "file; nothing of it is kept; look at it"
        )


def is_whole(file: File, path: Path) -> bool:
    """Whether what lies at `path` begins and ends as the file's name promises; not asked where a hash tells."""
    if file.sha256 or file.md5:
        return True
    name = file.path.lower()
    with path.open("rb") as came:
        start = came.read(START_BYTES)
        came.seek(max(0, path.stat().st_size - START_BYTES))
        end = came.read().rstrip()[-4:]
    if not _begins_well(name, start):
        return False
    if name.endswith((".zip", ".npz")):
        return zipfile.is_zipfile(path)  # its directory comes last
    if name.endswith(".parquet"):
        return end == BEGINNINGS[".parquet"]
    if name.endswith(".json"):
        return end[-1:] == JSON_ENDS.get(_first_byte(start))
    if name.endswith(".jsonl"):
        return end[-1:] in JSON_ENDS.values()
    return True


def _begins_well(name: str, start: bytes) -> bool:
    """Whether the first bytes of a file, or as many as came, can be those of a file of that name."""
    if start.startswith(POINTER):
        return False
    for suffix, beginning in BEGINNINGS.items():
        if name.endswith(suffix):
            return start.startswith(beginning[: len(start)])
    if name.endswith(".tar") and len(start) >= tarfile.BLOCKSIZE:
        try:
            tarfile.TarInfo.frombuf(start[: tarfile.BLOCKSIZE], "utf-8", "replace")
        except tarfile.HeaderError:
            return False
    if name.endswith((".json", ".jsonl")):
        return _first_byte(start) in (b"", *JSON_ENDS)
    if name.endswith((".csv", ".tsv")):
        is_utf_16 = start.startswith((b"\xff\xfe", b"\xfe\xff"))
        return _first_byte(start) not in (*JSON_ENDS, b"<") and (is_utf_16 or b"\0" not in start)
    return True


def _first_byte(start: bytes) -> bytes:
    return start.removeprefix(b"\xef\xbb\xbf"[: len(start)]).lstrip()[:1]


def check_framing(file: File, response: aiohttp.ClientResponse) -> None:
    """Hold a server to sending the file as it is (some just say `gzip` of archives), and to telling its end from a cut.

    Where a size or a hash is known, that tells the end.
    """
    encoding = response.headers.get("Content-Encoding", "").lower()
    is_archive = encoding.removeprefix("x-") == "gzip" and file.path.lower().endswith((".gz", ".tgz"))
    if encoding not in ("", "identity") and not is_archive:
        raise AcquisitionError(
            f"{file.path}: {plain(file.url)} has Content-Encoding {encoding[:20]!r}, which nobody asked for; get it "
            "by hand into the mirror"
        )
    coding = ", ".join(response.headers.getall("Transfer-Encoding", ())).lower()
    if coding not in ("", "identity", "chunked"):
        raise AcquisitionError(
            f"{file.path}: {plain(file.url)} has Transfer-Encoding {coding[:20]!r}, which nobody asked for; get it by "
            "hand into the mirror"
        )
    is_bounded = response.content_length is not None or coding == "chunked"
    if not is_bounded and not (file.sha256 or file.md5 or file.size_bytes):
        raise AcquisitionError(
            f"{file.path}: {plain(file.url)} does not say where the file ends, so a cut one would be taken for whole; "
            "get it by hand into the mirror"
        )


def check_hashes(file: File, found: Mapping[str, str]) -> None:
    """Hold the hashes of the whole file to the promised ones; ChecksumError at the first that differs."""
    for name, value in found.items():
        promised = getattr(file, name)
        if promised not in (None, value):
            raise ChecksumError(
                f"{file.path}: {plain(file.url)} gives {name} {value}, promised is {promised}; nothing of it is kept; "
                "where the publisher changed the file, its card must say so"
            )
