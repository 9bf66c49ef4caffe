"""What an archive may ask for at most, of whichever kind: nothing that it says of itself is believed."""

from __future__ import annotations

from pathlib import Path

from openmedq.errors import ArchiveError

MAX_MEMBER_BYTES = 2**30  # what `read` takes into memory
MAX_EXPANSION = 200  # deflate reaches 1,032 on zeros; pictures and tables stay below 20
SMALL_BYTES = 2**20  # below this, expansion is no danger


def refuse_expansion(path: Path, what: str, size_bytes: int, packed_bytes: int) -> None:
    """ArchiveError where so many bytes can't have come of so few, or not by fair means."""
    if size_bytes > max(SMALL_BYTES, packed_bytes * MAX_EXPANSION):
        raise ArchiveError(f"{path}: {what} would grow from {packed_bytes} to {size_bytes} bytes: a bomb; refused")
