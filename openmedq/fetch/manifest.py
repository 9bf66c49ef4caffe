"""`survey`: what the mirror holds of each set of the catalogue, with the hash of every file.

The mirror is read where it lies. Hashes are remembered, so that only what is new or changed is read again. A mirror
that bears the list of links that it was made of is held to it, file by file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from openmedq import paths
from openmedq.config import Params
from openmedq.datasets import catalogue
from openmedq.datasets.card import Card
from openmedq.errors import MirrorError
from openmedq.fetch.mirror import is_miniature, list_unmatched, match_folders, require
from openmedq.storage import links, origin
from openmedq.storage.discretion import discreet
from openmedq.storage.progress import progress
from openmedq.storage.publish import publish

HASHES = paths.PARTIAL / "manifest-cache"
NUM_NAMED = 20  # of the folders that match no dataset

_log = logging.getLogger(__name__)


def run(params: Params) -> None:
    """Write one origin for each set of the catalogue."""
    sets = catalogue.read(paths.CATALOGUE)
    mirror = require(params.download, sets)
    folders = match_folders(mirror, sets, may_be_empty=params.download.fetch)
    if unmatched := list_unmatched(mirror, folders.values()):
        named = ", ".join(unmatched[:NUM_NAMED]) + (", ..." if len(unmatched) > NUM_NAMED else "")
        advice = "rename a folder to its dataset's id; `python -m openmedq sources` lists them"
        _log.warning("%s: %d folders match no dataset: %s; %s", mirror, len(unmatched), named, advice)
    kind: origin.Kind = "miniature" if is_miniature(mirror) else "mirror"
    listed = links.read(mirror / links.NAME)
    found = {set_id: _list_files(set_id, folder, sets[set_id]) for set_id, folder in folders.items()}

    with publish(paths.MANIFEST) as target, origin.open_hashes(HASHES) as hashes:
        target.mkdir()
        known = {path: hashes.get(path, status) for files in found.values() for path, status in files}
        unknown_bytes = sum(status.st_size for files in found.values() for path, status in files if known[path] is None)
        with progress(f"hashing {mirror}", unknown_bytes, is_bytes=True) as advance:
            for set_id in sets:
                entries = []
                for path, status in found.get(set_id, ()):
                    sha256 = known[path]
                    if sha256 is None:
                        with discreet(set_id, sets[set_id].is_credentialed):
                            sha256 = hashes.compute(path, status)
                        advance(status.st_size)
                    name = path.relative_to(folders[set_id]).as_posix()
                    entries.append(origin.Entry(name, status.st_size, sha256))
                surveyed = origin.Origin()
                if entries:
                    ordered = tuple(sorted(entries, key=lambda entry: entry.path))
                    surveyed = origin.Origin(folders[set_id], kind, ordered)
                    with discreet(set_id, sets[set_id].is_credentialed):
                        _hold_to_list(set_id, surveyed, listed)
                origin.write(surveyed, target / f"{set_id}.json")


def _hold_to_list(set_id: str, surveyed: origin.Origin, listed: Mapping[str, links.Link]) -> None:
    """MirrorError where the mirror's list names a file of the set that is missing, or is another."""
    found = {entry.path: entry for entry in surveyed.files}
    for link in listed.values():
        owner, _, path = link.path.partition("/")
        if owner != set_id or surveyed.folder is None:
            continue
        entry = found.get(path)
        if entry is None:
            raise MirrorError(
                f"{surveyed.folder / path}: missing, though {links.NAME} names it; fetch it from {link.url}"
            )
        here = {"size_bytes": str(entry.size_bytes), "sha256": entry.sha256}
        if link.md5 and not link.sha256:
            here["md5"] = origin.compute_md5(surveyed.folder / path)
        for name, value in here.items():
            if getattr(link, name) not in ("", value):
                told = f"{name} is {value}, {links.NAME} says {getattr(link, name)}"
                raise MirrorError(f"{surveyed.folder / path}: {told}; fetch it again from {link.url}")


def _list_files(set_id: str, folder: Path, card: Card) -> list[tuple[Path, os.stat_result]]:
    with discreet(set_id, card.is_credentialed):
        files = list(origin.find_files(folder))
    if not files:
        raise MirrorError(f"{folder}: holds no file; put the published files there or remove the folder")
    return files
