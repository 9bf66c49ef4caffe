"""Which version of a file was begun: what its server said of it by which another one would be known.

It lies beside what came, so that a cut transfer is gone on with only where the server still has the same (RFC 9110).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp


@dataclass(frozen=True)
class Version:
    """Validators as they were sent, and the size of the whole; None where nothing was said."""

    etag: str | None = None
    last_modified: str | None = None
    num_bytes: int | None = None

    @property
    def validator(self) -> str | None:
        """What `If-Range` may hold: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified

    def differs(self, other: Version) -> bool:
        """Whether anything that was said of both is not the same: not every server heeds `If-Range`."""
        pairs = (self.etag, other.etag), (self.last_modified, other.last_modified), (self.num_bytes, other.num_bytes)
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def of(response: aiohttp.ClientResponse, num_bytes: int | None) -> Version:
    """The version that an answer is of."""
    return Version(_text(response.headers.get("ETag")), _text(response.headers.get("Last-Modified")), num_bytes)


def write(path: Path, version: Version) -> None:
    """Note a version."""
    path.write_text(json.dumps(asdict(version)), encoding="utf-8")


def read(path: Path) -> Version:
    """The version that was noted; one of which nothing is known where the note is damaged, or absent."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):  # a machine that lost its power leaves zeros, say
        return Version()
    if not isinstance(tree, dict):
        return Version()
    num_bytes = tree.get("num_bytes")
    return Version(
        _text(tree.get("etag")), _text(tree.get("last_modified")), num_bytes if type(num_bytes) is int else None
    )


def _text(value: Any) -> str | None:
    """What may be sent back in a header."""
    return value if isinstance(value, str) and value and value.isprintable() else None
