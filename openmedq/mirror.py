"""A mirror: the user's folder of published files, one sub-folder a set. What lies in them is `survey`'s business."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from openmedq import layout
from openmedq.cards import catalogue
from openmedq.errors import MirrorError


def is_miniature(mirror: Path) -> bool:
    """Whether it is the folder that the miniatures are written to."""
    return mirror.resolve() == layout.MINIATURE.resolve()


def match_folders(mirror: Path, sets: catalogue.Catalogue, *, may_be_empty: bool = False) -> dict[str, Path]:
    """The mirror's folder of each set that it holds: named by the set's id or title, ignoring case, `-`, `_`, spaces.

    A folder named by the set's collection counts where one of the set's files lies in it, in whichever packaging.
    MirrorError where the mirror is missing, holds one twice, or none (which `may_be_empty` allows).
    """
    try:
        folders = sorted(path for path in mirror.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        advice = (
            "`dvc repro` writes the miniatures there"
            if is_miniature(mirror)
            else "a mirror is a folder that holds the sets' folders; name another (download.mirror in params.yaml)"
        )
        raise MirrorError(f"{mirror}: {error.strerror}; {advice}") from None
    matched: dict[str, Path] = {}
    for set_id, entry in sets.items():
        names = {_plain(set_id), _plain(entry["title"])}
        candidates = [folder for folder in folders if _plain(folder.name) in names]
        if len(candidates) > 1:
            raise MirrorError(f"{candidates[0]} and {candidates[1]}: both are {set_id}; rename or remove one")
        if not candidates and entry["collection"]:
            shared = [folder for folder in folders if _plain(folder.name) == _plain(entry["collection"])]
            paths = (*entry["files"], *entry["other_paths"])
            candidates = [folder for folder in shared if any((folder / path).exists() for path in paths)]
        if candidates:
            matched[set_id] = candidates[0]
    if not matched and not may_be_empty:
        raise MirrorError(f"{mirror}: holds no set; name its folders {_join(sets)}, or change download.mirror")
    return matched


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter not in "-_ ")


def _join(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
