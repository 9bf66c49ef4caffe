"""Where a dataset's downloaded files are, whether all are present, and why a dataset is not downloaded."""

import shutil
from pathlib import Path

from yarl import URL

from openmedq import paths
from openmedq.config import Licences
from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.licences import refuse_card
from openmedq.errors import AcquisitionError
from openmedq.fetch import addresses
from openmedq.storage import origin

ORIGIN = "origin.json"  # in data/raw/<id>
FILES = "files"  # in data/raw/<id>: downloaded files, as published
PARTIAL = ".partial"  # in data/raw/<id>: data of incomplete files
GUARDED = (Access.CREDENTIALED, Access.REGISTRATION)
REQUIRE = "once download.require lists it: DVC tracks params, not credentials, when it decides which stages to run"


def folder_of(dataset_id: str) -> Path:
    """The folder of a dataset's downloaded files."""
    return Path(paths.RAW, dataset_id, FILES)


def partial_of(dataset_id: str, file: File) -> Path:
    """The temporary path of an incomplete file."""
    return Path(paths.RAW, dataset_id, PARTIAL, file.path)


def reason_to_skip(card: Card, policy: Licences) -> str | None:
    """Why a dataset is not downloaded, and what to do; None if it can be.

    A dataset that is complete needs no credentials, so that it stays in the mix of users without them.
    """
    refusal = refuse_card(card, policy)
    if refusal is not None:
        return f"{refusal} (policy.licences is {policy})"
    if card.access is Access.USER_SUPPLIED:
        return f"it cannot be downloaded by a program: {card.advice or card.homepage}"
    if card.access in GUARDED and not is_whole(card):
        for host in sorted({URL(file.url).host or "" for file in card.files}):
            if addresses.find_credential(host) is None:
                how = f"{addresses.advise_login(host)}; {card.advice or card.homepage}"
                return f"{card.access}, and there are no credentials for {host}: {how}"
    return None


def is_whole(card: Card) -> bool:
    """Whether all files of a dataset are present by name, including those that the card's files list."""
    is_card_present = all((folder_of(card.id) / file.path).is_file() for file in card.files)
    return is_card_present and (not card.linked_bytes or _is_downloaded(card.id))


def check_room(dataset_id: str, num_bytes: int) -> None:
    """AcquisitionError if the disk lacks room for the bytes to download."""
    paths.RAW.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(paths.RAW).free
    if num_bytes > free:
        raise AcquisitionError(
            f"{paths.RAW}: {free / 1e9:.1f} GB are free, {dataset_id} needs {num_bytes / 1e9:.1f} GB; free some space, "
            f"or leave the dataset out (download.skip: [{dataset_id}])"
        )


def size_of(path: Path) -> int:
    """The size of a file in bytes, 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_downloaded(dataset_id: str) -> bool:
    """Whether the dataset's origin.json, which is written last, is of downloaded files."""
    path = paths.RAW / dataset_id / ORIGIN
    return path.exists() and origin.read(path).origin == "official"
