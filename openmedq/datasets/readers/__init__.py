"""How published files are read: layouts that several sets share, streamed, and nothing in them trusted.

What a record means is its source's business.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from openmedq.storage.folders import find_all

_log = logging.getLogger(__name__)


def warn_absent(set_id: str, name: str, split: str) -> None:
    """Log that a split's file is not there."""
    _log.warning('%s: %s is absent; the split "%s" has no rows', set_id, name, split)


def find_file(raw: Path, *names: str) -> Path | None:
    """The first of `names` (paths below `raw`) that is a file; None where none is."""
    return next((raw / name for name in names if (raw / name).is_file()), None)


def find_below(raw: Path, *names: str) -> list[Path]:
    """What is called by one of `names`, in `raw` or up to two folders deeper: in the order of `names`, then of depth.

    As archives and clones unpack: `raw` itself, a folder in it, or a folder of that folder's name again.
    """
    return [path for name in names for depth in ("", "*/", "*/*/") for path in find_all(raw, depth + name)]


def places_near(raw: Path, path: Path, *names: str) -> Iterator[str]:
    """Each of `names` beside the file at `path`, then in `raw`, as paths below `raw`."""
    for folder in dict.fromkeys((path.parent, raw)):
        for name in names:
            yield (folder / name).relative_to(raw).as_posix()
