"""`data/ledger/<id>.yaml`: what was found at the first download of each file. Git keeps it, and no stage depends on it.

A card pins what a publisher states; the ledger pins the rest, from the day that somebody has seen it. Bytes that differ
later are refused until `python -m openmedq accept ID FILE` takes the entry out.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from openmedq import paths
from openmedq.errors import ChecksumError, ParamsError, StaleError
from openmedq.storage.publish import replace_text

HEADER = (
    "# What was found at the first download. Commit it. `python -m openmedq accept {} FILE` takes an entry out, and "
    "the next download fetches the file anew.\n"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it was first fetched; of a file of the hub, the address holds the commit."""

    url: str
    sha256: str
    size_bytes: int


Ledger = Mapping[str, Entry]  # by the file's path


def read(set_id: str) -> Ledger:
    """The entries of a set; StaleError where its file is no ledger."""
    path = _path(set_id)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return {str(name): _parse(entry) for name, entry in tree.items()}
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, TypeError, AttributeError, ValueError, RecursionError):
        raise StaleError(
            f"{path}: not a ledger; restore it with `git checkout {path}`, or remove it to record anew"
        ) from None


def write(set_id: str, entries: Ledger) -> None:
    """Replace a set's ledger whole; none where it is empty."""
    path = _path(set_id)
    if not entries:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    tree = {name: asdict(entry) for name, entry in sorted(entries.items())}
    replace_text(path, HEADER.format(set_id) + yaml.safe_dump(tree, sort_keys=False, width=10**6))


def check(set_id: str, name: str, found: Entry, entries: Ledger) -> None:
    """ChecksumError where a file is not what it was at its first download."""
    known = entries.get(name)
    if known and (known.sha256, known.size_bytes) != (found.sha256, found.size_bytes):
        raise ChecksumError(
            f"{name}: {found.size_bytes} bytes with sha256 {found.sha256}, but {_path(set_id)} remembers "
            f"{known.size_bytes} with {known.sha256}; where its publisher changed it, run "
            f"`python -m openmedq accept {set_id} {shlex.quote(name)}`, and go on"
        )


def accept(set_id: str, names: Sequence[str]) -> list[str]:
    """Take entries out, all where none is named, so that the next download records what it finds; their names.

    ParamsError where a name has no entry.
    """
    entries = dict(read(set_id))
    for name in names:
        if name not in entries:
            there = ", ".join(entries) or "none"
            raise ParamsError(f"{_path(set_id)}: no entry {name!r}; there are {there}")
    gone = list(names) or list(entries)
    write(set_id, {name: entry for name, entry in entries.items() if name not in gone})
    return gone


def _parse(tree: Mapping[str, object]) -> Entry:
    """An entry of the file; TypeError where it is none: people edit it."""
    match tree:
        case {"url": str(url), "sha256": str(sha256), "size_bytes": int(size_bytes), **rest} if not rest:
            return Entry(url, sha256, size_bytes)
    raise TypeError


def _path(set_id: str) -> Path:
    return paths.LEDGER / f"{set_id}.yaml"
