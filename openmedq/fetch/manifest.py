"""Stage `manifest`: path, size and sha256 of the files in the local data folder, by dataset.

Files are read in place. Hashes are cached, so that only new and changed files are read again.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from openmedq import paths
from openmedq.config import Params
from openmedq.datasets import catalogue
from openmedq.datasets.card import Card
from openmedq.errors import LocalFolderError, numbered
from openmedq.fetch.mirror import is_miniature, list_unmatched, match_folders, require
from openmedq.storage import origin
from openmedq.storage.progress import progress
from openmedq.storage.publish import publish
from openmedq.storage.redact import redact_paths

HASHES = paths.PARTIAL / "manifest-cache"
NUM_NAMED = 20  # folders without a dataset that the warning names

_log = logging.getLogger(__name__)


def run(params: Params) -> None:
    """Write data/manifest/<id>.json for each dataset of the catalogue."""
    every = catalogue.read(paths.CATALOGUE)
    mirror = require(params, every)
    cards = {dataset_id: card for dataset_id, card in every.items() if not card.local}  # `download` lists local files
    folders = match_folders(mirror, cards, may_be_empty=params.download.fetch or len(cards) < len(every))
    if unmatched := list_unmatched(mirror, folders.values()):
        named = ", ".join(unmatched[:NUM_NAMED]) + (", ..." if len(unmatched) > NUM_NAMED else "")
        advice = "rename a folder to its dataset's id; `python -m openmedq plan` lists them"
        _log.warning("%s: no dataset matches %s: %s; %s", mirror, numbered(len(unmatched), "folder"), named, advice)
    kind: origin.Kind = "miniature" if is_miniature(mirror) else "mirror"
    with publish(paths.MANIFEST) as target:
        target.mkdir()
        found = hash_files({dataset_id: (cards[dataset_id], folder) for dataset_id, folder in folders.items()}, kind)
        for dataset_id in cards:
            origin.write(found.get(dataset_id, origin.Origin()), target / f"{dataset_id}.json")


def hash_files(folders: Mapping[str, tuple[Card, Path]], kind: origin.Kind) -> dict[str, origin.Origin]:
    """The files in the folder of each dataset, with hashes; LocalFolderError for an empty folder or unreadable file."""
    files, found = {}, {}
    for dataset_id, (card, folder) in folders.items():
        with redact_paths(dataset_id, card.is_credentialed):
            files[dataset_id] = origin.find_files(folder)
        if not files[dataset_id]:
            raise LocalFolderError(f"{folder}: contains no file; put the published files there or remove the folder")
    with origin.open_hashes(HASHES) as hashes:
        num_bytes = sum(status.st_size for each in files.values() for _, status in each)
        with progress("hashing files", num_bytes, is_bytes=True) as advance:
            for dataset_id, (card, folder) in folders.items():
                entries = []
                with redact_paths(dataset_id, card.is_credentialed):
                    for path, status in files[dataset_id]:
                        sha256 = hashes.get(path, status) or hashes.compute(path, status)
                        advance(status.st_size)
                        entries.append(origin.Entry(path.relative_to(folder).as_posix(), status.st_size, sha256))
                found[dataset_id] = origin.Origin(folder, kind, tuple(sorted(entries, key=lambda entry: entry.path)))
    return found
