"""data/ledger/<id>.yaml: url, size and sha256 of each file at its first download. It is in git; no stage depends on it.

The card pins what the publisher states, the ledger pins the rest. A later download with other bytes is refused until
`python -m openmedq accept ID FILE` removes the entry.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import yaml
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from openmedq import paths
from openmedq.datasets import registry
from openmedq.errors import ChecksumError, ParamsError, StaleError
from openmedq.fetch import needs
from openmedq.storage.publish import replace_text

HEADER = (
    "# What was found at the first download. Commit it. `python -m openmedq accept {} FILE` takes an entry out, and "
    "the next download fetches the file anew.\n"
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Entry:
    """A file at its first download."""

    url: str
    sha256: str
    size_bytes: int


Ledger = Mapping[str, Entry]  # by the file's path

_LEDGER = TypeAdapter(dict[str, Entry])


def read(dataset_id: str) -> Ledger:
    """Read the entries of a dataset; StaleError if the file is not a ledger."""
    path = _path(dataset_id)
    try:
        return _LEDGER.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, ValueError, RecursionError):
        raise StaleError(
            f"{path}: not a ledger; restore it with `git checkout {path}`, or remove it to record the files again"
        ) from None


def write(dataset_id: str, entries: Ledger) -> None:
    """Replace a dataset's ledger; delete it if there are no entries."""
    path = _path(dataset_id)
    if not entries:
        path.unlink(missing_ok=True)
        return
    tree = {name: asdict(entry) for name, entry in sorted(entries.items())}
    replace_text(path, HEADER.format(dataset_id) + yaml.safe_dump(tree, sort_keys=False, width=10**6))


def check(dataset_id: str, name: str, found: Entry, entries: Ledger) -> None:
    """ChecksumError if a file differs from its first download."""
    known = entries.get(name)
    if known and (known.sha256, known.size_bytes) != (found.sha256, found.size_bytes):
        raise ChecksumError(
            f"{name}: {found.size_bytes} bytes with sha256 {found.sha256}, but {_path(dataset_id)} records "
            f"{known.size_bytes} with {known.sha256}; if the publisher changed it, run "
            f"`python -m openmedq accept {dataset_id} {shlex.quote(name)}` and download again"
        )


def run(dataset_id: str, names: Sequence[str]) -> None:
    """Command `accept`: accept that a publisher changed files, which are then downloaded again."""
    registry.load(dataset_id)
    removed = accept(dataset_id, names)
    for name in removed:
        (needs.folder_of(dataset_id) / name).unlink(missing_ok=True)
        print(f"{dataset_id}: {name}: will be downloaded and recorded again")
    if not removed:
        print(f"{dataset_id}: no recorded file, so nothing to accept")


def accept(dataset_id: str, names: Sequence[str]) -> list[str]:
    """Remove entries, all if no name is given, so that the next download records them again; returns their names.

    ParamsError if a name has no entry.
    """
    entries = dict(read(dataset_id))
    for name in names:
        if name not in entries:
            raise ParamsError(f"{_path(dataset_id)}: no entry {name!r}; it has {', '.join(entries) or 'none'}")
    removed = list(names) or list(entries)
    write(dataset_id, {name: entry for name, entry in entries.items() if name not in removed})
    return removed


def _path(dataset_id: str) -> Path:
    return paths.LEDGER / f"{dataset_id}.yaml"
