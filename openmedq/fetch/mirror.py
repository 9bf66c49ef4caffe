"""A local data folder: the user's published files, one sub-folder a dataset. Their content is read by `survey`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from openmedq import paths
from openmedq.config import Download
from openmedq.datasets.card import Card
from openmedq.errors import MirrorError, ParamsError
from openmedq.storage.folders import is_junk

# What downloads add to a name: the host, a version, a branch or commit, the number of a copy.
_ADDED = re.compile(r"[-_. ]*(?:\.physionet\.org|v?\d+(?:\.\d+)+|[-_](?:main|master|[0-9a-f]{40})|\(\d+\))$")
_HUB_CACHE = "datasets--"  # before owner--name


def is_miniature(mirror: Path) -> bool:
    """Whether it is the folder that the miniatures are written to."""
    return mirror.resolve() == paths.MINIATURE.resolve()


def match_folders(mirror: Path, cards: Mapping[str, Card], *, may_be_empty: bool = False) -> dict[str, Path]:
    """The folder of each dataset that the local data folder holds, by the names on its card (see `_plain`).

    A name `owner/name` stands for folders `name`, `owner_name`, and `name` in `owner`. A folder whose name several
    datasets share, as a collection, counts where one of the dataset's files is in it, in whichever packaging.
    MirrorError where the mirror is missing, holds one twice, or none (which `may_be_empty` allows).
    """
    try:
        folders = {path: _plain(path.name) for path in _list_folders(mirror)}
    except OSError as error:
        advice = (
            "`dvc repro` writes the miniatures there"
            if is_miniature(mirror)
            else "a mirror is a folder that holds the sets' folders; name another (download.mirror in params.yaml)"
        )
        raise MirrorError(f"{mirror}: {error.strerror}; {advice}") from None
    inner: dict[Path, str] = {}
    for folder in folders:
        with suppress(OSError):
            inner |= {path: _plain(f"{folder.name}/{path.name}") for path in _list_folders(folder)}
    names = {set_id: _names(card) for set_id, card in cards.items()}
    claims = Counter(name for each in names.values() for name in each)
    matched: dict[str, Path] = {}
    for set_id, card in cards.items():
        own = {name for name in names[set_id] if claims[name] == 1}
        shared = names[set_id] - own | ({_plain(card.collection)} if card.collection else set())
        candidates = [folder for folder, name in folders.items() if name in own]
        candidates = candidates or [folder for folder, name in inner.items() if name in own]
        if len(candidates) > 1:
            advice = f"remove one, or move both into one folder {set_id}"
            raise MirrorError(f"{candidates[0]} and {candidates[1]}: both are {set_id}; {advice}")
        if not candidates:
            paths = (*(file.path for file in card.files), *card.other_paths)
            alike = [folder for folder, name in (folders | inner).items() if name in shared]
            candidates = [folder for folder in alike if any((folder / path).exists() for path in paths)]
        if candidates:
            matched[set_id] = candidates[0]
    if not matched and not may_be_empty:
        raise MirrorError(f"{mirror}: holds no set; name its folders {_join(cards)}, or change download.mirror")
    return matched


def list_unmatched(mirror: Path, matched: Iterable[Path]) -> list[str]:
    """Names of the folders that `match_folders` matched with no dataset."""
    known = {path for folder in matched for path in (folder, folder.parent)}
    return [folder.name for folder in _list_folders(mirror) if folder not in known]


def _list_folders(folder: Path) -> list[Path]:
    paths = (path for path in folder.iterdir() if not path.name.startswith(".") and not is_junk(path.name))
    return sorted(path for path in paths if path.is_dir())


def _names(card: Card) -> set[str]:
    names = {card.id, card.title, *card.aliases}
    return {_plain(name) for name in names | {name.rpartition("/")[2] for name in names}}


def _plain(name: str) -> str:
    """Letters and digits of a name, ignoring case, without what downloads add to it."""
    plain = name.casefold().removeprefix(_HUB_CACHE)
    while (match := _ADDED.search(plain)) and match.start():
        plain = plain[: match.start()]
    return "".join(filter(str.isalnum, plain))


def _join(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def require(download: Download, cards: Mapping[str, Card]) -> Path:
    """The local data folder. MirrorError where it is missing or matches no dataset.

    The miniatures' folder need not exist yet; ParamsError where files are to be fetched and the folder is this one.
    """
    mirror = Path(download.mirror)
    if not is_miniature(mirror):
        match_folders(mirror, cards, may_be_empty=download.fetch)
    elif download.fetch:
        raise ParamsError(
            f"download.fetch is true, but download.mirror is {mirror}, where every dataset is generated: nothing would "
            "be fetched; set download.mirror to a folder of your own (data/supplied, which may be empty)"
        )
    return mirror
