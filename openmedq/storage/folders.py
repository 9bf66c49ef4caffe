"""Folders of users: they may contain links, cycles of links, and files of an operating system."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from unicodedata import normalize

MAX_LEVELS = 16

_JUNK = {"__macosx", ".ds_store", "thumbs.db", "desktop.ini"}


def is_junk(name: str) -> bool:
    """Whether an operating system wrote the file at this path: macOS's `._*` and `__MACOSX`, Windows' `Thumbs.db`."""
    return any(part.startswith("._") or part.lower() in _JUNK for part in name.split("/"))


def spellings(name: str) -> Iterator[str]:
    """The name, then with `.JPG` for `.jpg` or the reverse; also with composed and decomposed umlauts (macOS)."""
    for form in (name,) if name.isascii() else dict.fromkeys((name, normalize("NFC", name), normalize("NFD", name))):
        yield form
        stem, dot, suffix = form.rpartition(".")
        for other in (suffix.lower(), suffix.upper()):
            if dot and other != suffix:
                yield f"{stem}.{other}"


def find_all(folder: Path, pattern: str) -> list[Path]:
    """The paths below `folder` that match the glob pattern, sorted, without junk; else those of another spelling."""
    found = (folder.glob(spelled) for spelled in spellings(pattern))
    places = (sorted(path for path in each if not is_junk(path.relative_to(folder).as_posix())) for each in found)
    return next(filter(None, places), [])


def walk(
    raw: Path, num_levels: int = MAX_LEVELS, enter: Callable[[str], bool] = lambda name: True
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield `raw` and the folders up to `num_levels` below it, level by level, each with its folder and file names.

    Links are followed and each folder is visited once. Hidden folders, and folders for whose name `enter` is false,
    are listed but not visited. Junk is not listed.
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
                names = sorted(name for name in folders if not is_junk(name))
                yield folder, names, [name for name in files if not is_junk(name)]
                below += (folder / name for name in names if enter(name) and not name.startswith("."))
                break
        level = below


def _fail(error: OSError) -> None:
    raise error
