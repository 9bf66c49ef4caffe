"""Streaming readers for file layouts that several datasets share. The content of published files is untrusted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from openmedq.storage.folders import find_all
from openmedq.storage.origin import find_files

_log = logging.getLogger(__name__)


def warn_absent(dataset_id: str, name: str, split: str) -> None:
    """Log that the file of a split is absent."""
    _log.warning('%s: %s is absent; the split "%s" has no rows', dataset_id, name, split)


def list_files(raw: Path) -> list[Path]:
    """List all files below `raw`, sorted, without junk."""
    return [path for path, _ in find_files(raw)] if raw.is_dir() else []


def find_file(raw: Path, *names: str) -> Path | None:
    """Return the first of `names` (paths below `raw`) that is a file, or None."""
    return next((raw / name for name in names if (raw / name).is_file()), None)


def find_below(raw: Path, *names: str) -> list[Path]:
    """Find files and folders with one of `names` in `raw` or up to two folders deeper, by order of `names`, then depth.

    Archives and clones often unpack into a folder, or into a folder in a folder of the same name.
    """
    return [path for name in names for depth in ("", "*/", "*/*/") for path in find_all(raw, depth + name)]


def find_files_below(raw: Path, *names: str) -> list[Path]:
    """Like `find_below`, for files only."""
    return [path for path in find_below(raw, *names) if path.is_file()]


def places_near(raw: Path, path: Path, *names: str) -> Iterator[str]:
    """Yield each of `names` in the folder of `path`, then in `raw`, as paths relative to `raw`."""
    for folder in dict.fromkeys((path.parent, raw)):
        for name in names:
            yield (folder / name).relative_to(raw).as_posix()
