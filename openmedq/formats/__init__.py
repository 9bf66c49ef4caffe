"""How published files are read: layouts that several sets share, streamed, and nothing in them trusted.

What a record means is its source's business.
"""

from __future__ import annotations

from pathlib import Path


def find_file(raw: Path, *names: str) -> Path | None:
    """The first of `names` (paths below `raw`) that is a file; None where none is."""
    return next((raw / name for name in names if (raw / name).is_file()), None)
