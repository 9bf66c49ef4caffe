"""Folders as users keep them: some are links to another disk, and a link may lead back to where one comes from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

MAX_LEVELS = 16


def walk(
    raw: Path, num_levels: int = MAX_LEVELS, enter: Callable[[str], bool] = lambda name: True
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`raw` and the folders up to `num_levels` below it, the uppermost first, with names of folders and files in each.

    Links to folders are followed, and no folder comes twice. Hidden folders, and those whose name `enter` turns down,
    are named and not entered.
    """
    level, seen = [raw] if raw.is_dir() else [], set()
    for _ in range(num_levels + 1):
        below: list[Path] = []
        for folder in level:
            place = os.path.realpath(folder)
            if place in seen:
                continue
            seen.add(place)
            for _, folders, files in os.walk(folder, onerror=_fail):
                yield folder, sorted(folders), files
                below += (folder / name for name in sorted(folders) if enter(name) and not name.startswith("."))
                break
        level = below


def _fail(error: OSError) -> None:
    raise error
