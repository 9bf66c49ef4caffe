"""The local data folder (`download.mirror`): the user's published files, one sub-folder per dataset."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from openmedq import paths
from openmedq.config import Deduplicate, Params
from openmedq.datasets.card import Card
from openmedq.errors import LocalFolderError, ParamsError
from openmedq.storage.folders import is_junk

# What downloads append to a folder's name: the host, a version, a branch or commit, the number of a copy.
_APPENDED = re.compile(r"[-_. ]*(?:\.physionet\.org|v?\d+(?:\.\d+)+|[-_](?:main|master|[0-9a-f]{40})|\(\d+\))$")
_HUB_CACHE = "datasets--"  # prefix of owner--name


def is_miniature(mirror: Path) -> bool:
    """Whether the folder is the one of the generated miniatures."""
    return mirror.resolve() == paths.MINIATURE.resolve()


def require(params: Params, cards: Mapping[str, Card]) -> Path:
    """The local data folder; the one of the miniatures need not exist yet.

    Raises:
        LocalFolderError: it is missing or matches no dataset, or the folder of a local dataset is missing.
        ParamsError: `download.fetch` is true, with the folder of the miniatures; another path does not exist.
    """
    download, mirror = params.download, Path(params.download.mirror)
    declared = {dataset_id: Path(card.local.folder) for dataset_id, card in cards.items() if card.local}
    for dataset_id, folder in declared.items():
        if not folder.is_dir():
            raise LocalFolderError(f"{folder}: not found; correct local.{dataset_id}.folder in params.yaml")
    overrides = params.deduplicate.overrides  # `openmedq catalogue` writes the default one
    if overrides != Deduplicate().overrides and not Path(overrides).is_file():
        raise ParamsError(f"params.yaml: deduplicate.overrides: {overrides!r}: no such file; write it, or correct this")
    for setting, path in _list_paths(params):
        if not path.exists():
            raise ParamsError(f"params.yaml: {setting}: {str(path)!r}: not found; correct it, or put it there")
    if not is_miniature(mirror):
        match_folders(mirror, cards, may_be_empty=download.fetch or bool(declared))
    elif download.fetch:
        raise ParamsError(
            f"download.fetch is true, but download.mirror is {mirror}, where every dataset is generated: nothing would "
            "be downloaded; set download.mirror to a folder of your own (data/supplied, which may be empty)"
        )
    return mirror


def _list_paths(params: Params) -> Iterator[tuple[str, Path]]:
    """Yield the settings that name a file or folder on this machine; `owner/name` may be a Hugging Face id."""
    parts: dict[str, Any] = {"train.vision": params.train.vision, "train.language": params.train.language}
    parts |= {f"transfer.encoders.{name}": encoder for name, encoder in params.transfer.encoders.items()}
    for name, part in parts.items():
        weights, depends = Path(part.weights or "."), Path(getattr(part, "depends", paths.MIX))
        if weights.is_absolute() or (len(weights.parts) > 2 and weights.parts[0] != "datasets"):
            yield f"{name}.weights", weights
        if depends not in (paths.MIX, paths.MODEL):  # which the stages write
            yield f"{name}.depends", depends


def match_folders(mirror: Path, cards: Mapping[str, Card], *, may_be_empty: bool = False) -> dict[str, Path]:
    """The folder of each dataset in the local data folder, matched by the names on its card.

    A name `owner/name` matches folders `name`, `owner_name`, and `name` in `owner`. A folder whose name several
    datasets share, as a collection, matches a dataset if it contains one of its files, in any packaging.
    LocalFolderError if the folder is missing, contains a dataset twice or, unless it `may_be_empty`, no dataset.
    """
    try:
        folders = {path: _simplify(path.name) for path in _list_folders(mirror)}
    except OSError as error:
        advice = (
            "`dvc repro` writes the miniatures there"
            if is_miniature(mirror)
            else "set download.mirror in params.yaml to a folder that contains the datasets' folders"
        )
        raise LocalFolderError(f"{mirror}: {error.strerror}; {advice}") from None
    inner: dict[Path, str] = {}
    for folder in folders:
        with suppress(OSError):
            inner |= {path: _simplify(f"{folder.name}/{path.name}") for path in _list_folders(folder)}
    cards = {dataset_id: card for dataset_id, card in cards.items() if not card.local}  # these have their own folders
    names = {dataset_id: _names(card) for dataset_id, card in cards.items()}
    num_owners = Counter(name for each in names.values() for name in each)
    matched: dict[str, Path] = {}
    for dataset_id, card in cards.items():
        own = {name for name in names[dataset_id] if num_owners[name] == 1}
        shared = names[dataset_id] - own | ({_simplify(card.collection)} if card.collection else set())
        candidates = [folder for folder, name in folders.items() if name in own]
        candidates = candidates or [folder for folder, name in inner.items() if name in own]
        if len(candidates) > 1:
            advice = f"remove one, or move both into one folder {dataset_id}"
            raise LocalFolderError(f"{candidates[0]} and {candidates[1]}: both match {dataset_id}; {advice}")
        if not candidates:
            files = (*(file.path for file in card.files), *card.other_paths)
            alike = [folder for folder, name in (folders | inner).items() if name in shared]
            candidates = [folder for folder in alike if any((folder / path).exists() for path in files)]
        if candidates:
            matched[dataset_id] = candidates[0]
    if not matched and not may_be_empty:
        ids = ", ".join(sorted(cards))
        raise LocalFolderError(f"{mirror}: contains no dataset; name its folders {ids}, or change download.mirror")
    return matched


def list_unmatched(mirror: Path, matched: Iterable[Path]) -> list[str]:
    """Names of the folders that match no dataset."""
    known = {path for folder in matched for path in (folder, folder.parent)}
    return [folder.name for folder in _list_folders(mirror) if folder not in known]


def _list_folders(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if not path.name.startswith(".") and not is_junk(path.name))
    return sorted(path for path in found if path.is_dir())


def _names(card: Card) -> set[str]:
    names = {card.id, card.title, *card.aliases}
    return {_simplify(name) for name in names | {name.rpartition("/")[2] for name in names}}


def _simplify(name: str) -> str:
    """Letters and digits of a name in lower case, without what downloads append to it."""
    name = name.casefold().removeprefix(_HUB_CACHE)
    while (match := _APPENDED.search(name)) and match.start():
        name = name[: match.start()]
    return "".join(filter(str.isalnum, name))
