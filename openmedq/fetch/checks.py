"""Checks of a downloaded file: its size, its first bytes, whether a zip is complete, and how the server sends it.

Files with a hash, from the card or the host, are verified in `file`; the checks of bytes are for files without one.
"""

import zipfile
from pathlib import Path, PurePosixPath

import aiohttp

from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError
from openmedq.fetch.addresses import plain
from openmedq.storage import unexpected

BOUNDS = (0.5, 2.0)  # of a size, as factors of the approximate size on the card
START_BYTES = 1024  # of a file, by which it is recognized
PAGE_TYPES = ("text/html", "application/xhtml+xml")
JSON_STARTS = (b"{", b"[")
MAGIC = {".zip": b"PK", ".npz": b"PK", ".gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b", ".parquet": b"PAR1"}
UNCLEAR = "the host may require a login or be down: open the address in a browser"


def size_bounds(file: File) -> tuple[float, float]:
    """The smallest and the largest size in bytes that a file may have."""
    if file.size_bytes is not None:
        return file.size_bytes, file.size_bytes
    if file.about_bytes is not None:
        return file.about_bytes * BOUNDS[0], file.about_bytes * BOUNDS[1]
    return 0, float("inf")


def is_as_named(file: File, path: Path) -> bool:
    """Whether the first bytes of a file agree with its name, and a zip is complete; True if a hash is known instead."""
    if has_hash(file):
        return True
    with path.open("rb") as data:
        start = data.read(START_BYTES)
    name = file.path.lower()
    is_begun = unexpected.describe(start) is None and _fits_name(name, start)
    return is_begun and (not name.endswith((".zip", ".npz")) or zipfile.is_zipfile(path))  # its directory comes last


def check_size(file: File, num_bytes: int | None, *, is_all: bool = True) -> None:
    """Raise AcquisitionError for a size out of the file's bounds; for a part (not `is_all`), only if too large."""
    low, high = size_bounds(file)
    if num_bytes is not None and (num_bytes > high or (is_all and num_bytes < low)):
        expected = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
        raise AcquisitionError(
            f"{file.path}: {plain(file.url)} has {num_bytes} bytes, expected {expected}; it is not the published file; "
            "if the publisher changed it, update its card"
        )


def check_start(file: File, content_type: str, start: bytes) -> None:
    """Raise AcquisitionError for a login or error page, or, unless a hash is known, a wrong type or first bytes."""
    start, name = start[:START_BYTES], file.path.lower()
    found = unexpected.describe(start)
    if found is None and content_type.partition(";")[0].strip().lower() in PAGE_TYPES and not has_hash(file):
        found = ("an HTML page", "")
    if found:
        raise AcquisitionError(f"{file.path}: {plain(file.url)} sends {found[0]}, not the published file; {UNCLEAR}")
    if not has_hash(file) and not _fits_name(name, start):
        suffix = PurePosixPath(name).suffix
        raise AcquisitionError(f"{file.path}: {plain(file.url)} does not begin as a {suffix} file; {UNCLEAR}")


def _fits_name(name: str, start: bytes) -> bool:
    """Whether the first bytes of a file, as far as they arrived, agree with its name."""
    for suffix, magic in MAGIC.items():
        if name.endswith(suffix):
            return start.startswith(magic[: len(start)])
    if name.endswith((".json", ".jsonl")):
        return _first_byte(start) in (b"", *JSON_STARTS)
    if name.endswith(".csv"):
        return _first_byte(start) not in (*JSON_STARTS, b"<") and b"\0" not in start
    return True


def _first_byte(start: bytes) -> bytes:
    return start.removeprefix(b"\xef\xbb\xbf"[: len(start)]).lstrip()[:1]


def has_hash(file: File) -> bool:
    """Whether the card or the host states a hash."""
    return bool(file.sha256 or file.md5)


def check_framing(file: File, response: aiohttp.ClientResponse) -> None:
    """Raise AcquisitionError for a body of unknown length, whose truncation could not be detected."""
    coding = ", ".join(response.headers.getall("Transfer-Encoding", ())).lower()
    if response.content_length is None and coding != "chunked" and not (has_hash(file) or file.size_bytes):
        raise AcquisitionError(
            f"{file.path}: {plain(file.url)} states no length, so a truncated file would not be noticed; download it "
            "by hand into the local data folder"
        )
