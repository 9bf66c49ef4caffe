"""What a set still needs, and what stands in the way: known before anything is asked of any host."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from yarl import URL

from openmedq import paths
from openmedq.config import Download, Licences
from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.licences import refuse_card
from openmedq.errors import AcquisitionError
from openmedq.fetch import credentials, ledger
from openmedq.fetch.hosts import hub

MANIFEST = "origin.json"  # in data/raw/<id>
FILES = "files"  # below data/raw/<id>: what was fetched, as published
PARTIAL = ".partial"  # beside it: what has come of a file that is not whole
GUARDED = (Access.CREDENTIALED, Access.REGISTRATION)
LOOK_AGAIN = "once download.require names it: DVC sees no credentials, and runs what its dials say anew"


def folder_of(set_id: str) -> Path:
    """Where a set's fetched files lie."""
    return Path(paths.RAW, set_id, FILES)


def aside_of(set_id: str, file: File) -> Path:
    """Where an unfinished file lies."""
    return Path(paths.RAW, set_id, PARTIAL, file.path)


def choose(card: Card, dials: Download) -> Card:
    """The card with the files of the edition that the settings name."""
    return card.choose(dials.editions.get(card.id))


def hindrance(card: Card, policy: Licences) -> str | None:
    """Why the files of a set are not fetched here, and what to do; None where nothing stands in the way.

    A set that is here needs no credentials: it stays in the mix of whoever runs it without them.
    """
    refusal = refuse_card(card, policy)
    if refusal is not None:
        return f"{refusal} (policy.licences is {policy})"
    if card.access is Access.USER_SUPPLIED:
        return f"no program can fetch it: {card.advice or card.homepage}"
    if card.access in GUARDED and not is_whole(card):
        for host in sorted({URL(file.url).host or "" for file in card.files}):
            if credentials.find(host) is None:
                how = f"{credentials.advise(host)}; {card.advice or card.homepage}"
                return f"{card.access}, and there are no credentials for {host}: {how}"
    return None


def known(files: Iterable[File], entries: ledger.Ledger) -> list[File]:
    """The files with what the ledger knows of them; those of the hub at the commit that was first fetched."""
    commits = {}
    for entry in entries.values():
        place = hub.locate(File(path="", url=entry.url))
        if place:
            commits[place[0]] = place[1]
    described = []
    for file in files:
        place = hub.locate(file)
        if place and not hub.is_pinned(file) and place[0] in commits:
            file = hub.pin(file, commits[place[0]])
        described.append(file)
    return described


@dataclass(frozen=True)
class Need:
    """A set's files, and how far they are here."""

    set_id: str
    files: tuple[File, ...]
    missing: tuple[File, ...]
    num_here: int  # bytes of whole files
    num_begun: int  # bytes of unfinished ones
    num_known: int  # bytes that are still to come, as far as sizes are known, rounded ones included
    num_unsized: int  # missing files whose size nobody states
    is_whole: bool  # all is here, files that the listed ones name included

    @property
    def is_rough(self) -> bool:
        """Whether a rounded size is among those that count."""
        return not self.is_whole and (not self.missing or any(file.size_bytes is None for file in self.missing))


def assess(card: Card) -> Need:
    """What is here of a set's files, by name and size, and what is missing."""
    entries = ledger.read(card.id)
    files = known(card.files, entries)
    sizes = {file.path: _size(file, entries) for file in files}
    missing = [file for file in files if not (folder_of(card.id) / file.path).is_file()]
    listed = sum(_num_bytes(folder_of(card.id) / file.path) for file in files)
    here = sum(path.stat().st_size for path in folder_of(card.id).rglob("*") if path.is_file())
    begun = sum(_num_bytes(aside_of(card.id, file)) for file in missing)
    known_bytes = sum(sizes[file.path] or 0 for file in missing)
    num_unsized = sum(sizes[file.path] is None for file in missing)
    if num_unsized and card.about_bytes is not None:
        known_bytes, num_unsized = card.about_bytes - listed, 0
    has_all = is_whole(card)
    linked_bytes = 0 if has_all else max(0, card.linked_bytes - (here - listed))
    return Need(
        set_id=card.id,
        files=tuple(files),
        missing=tuple(missing),
        num_here=here,
        num_begun=begun,
        num_known=max(0, known_bytes - begun) + linked_bytes,
        num_unsized=num_unsized,
        is_whole=has_all,
    )


def is_whole(card: Card) -> bool:
    """Whether all of a set was fetched, files that the listed ones name included; by name, not by hash."""
    is_listed_here = all((folder_of(card.id) / file.path).is_file() for file in card.files)
    return is_listed_here and (not card.linked_bytes or _is_fetched(card.id))


def links(card: Card) -> Iterator[File]:
    """A set's files as someone else may fetch them, with all that is known of them."""
    entries = ledger.read(card.id)
    for file in known(card.files, entries):
        entry = entries.get(file.path)
        found = {"sha256": file.sha256 or entry.sha256, "size_bytes": entry.size_bytes} if entry else {}
        yield file.model_copy(update=found)


def check_room(set_id: str, num_bytes: int) -> None:
    """AcquisitionError where the disk has no room for what is to come."""
    paths.RAW.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(paths.RAW).free
    if num_bytes > free:
        raise AcquisitionError(
            f"{paths.RAW}: {free / 1e9:.1f} GB are free, {set_id} takes {num_bytes / 1e9:.1f} GB; make room, or leave "
            f"it out (download.skip: [{set_id}])"
        )


def _is_fetched(set_id: str) -> bool:
    """Whether the set's manifest, which is written last, is one of fetched files."""
    try:
        with (paths.RAW / set_id / MANIFEST).open(encoding="ascii", errors="replace") as manifest:
            return '"origin": "official"' in manifest.readline()
    except OSError:
        return False


def _size(file: File, entries: ledger.Ledger) -> int | None:
    entry = entries.get(file.path)
    return file.size_bytes or (entry.size_bytes if entry else None) or file.about_bytes


def _num_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
