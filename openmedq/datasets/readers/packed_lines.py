"""Stream JSON lines files, unpacked or inside a zip."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from openmedq.datasets.fields import Record, represent
from openmedq.datasets.readers.json_stream import stream_lines
from openmedq.schema import Provenance, Rejected, Sample
from openmedq.storage.archives import MemberPath, open_members
from openmedq.storage.lookup import open_spare
from openmedq.storage.origin import find_files

_log = logging.getLogger(__name__)

_Key = TypeVar("_Key")


LinesFile = Path | MemberPath


def find_lines(
    raw: Path, identify: Callable[[PurePosixPath], _Key | None], *, with_zips: bool = True
) -> dict[_Key, LinesFile]:
    """Find the files to which `identify` gives a key; of several files with one key, the uppermost.

    If `with_zips`, the first zip with such files provides those that are not unpacked. Skipped files are logged.
    """
    files = [path for path, _ in find_files(raw)] if raw.is_dir() else []
    unpacked = _choose({PurePosixPath(path.relative_to(raw).as_posix()): path for path in files}, identify)
    packed: dict[_Key, LinesFile] = {}
    for path in files:
        if path.suffix.lower() != ".zip":
            continue
        if packed or not with_zips:
            _log.info("%s: not read: its files are unpacked or in another archive", path)
            continue
        with (open_spare if unpacked else open_members)(path) as members:
            names = members.names if members else []
            packed = _choose({PurePosixPath(name): MemberPath(path, name) for name in names}, identify)
    return packed | unpacked


def _choose(
    places: Mapping[PurePosixPath, LinesFile], identify: Callable[[PurePosixPath], _Key | None]
) -> dict[_Key, LinesFile]:
    chosen: dict[_Key, LinesFile] = {}
    for place in sorted(places, key=lambda place: (len(place.parts), place)):
        key = identify(place)
        if key is not None and chosen.setdefault(key, places[place]) is not places[place]:
            _log.info("%s: not read: another copy is used", places[place])
    return chosen


def represent_lines(
    found: LinesFile,
    *,
    source: str,
    split: str,
    raw: Path,
    identify: Callable[[str, Record], str],
    build: Callable[[Record, str, str, Provenance], Sample],
    seen: dict[str, str] | None,
) -> Iterator[Sample | Rejected]:
    """Represent the records of a file of one split; `identify` returns a record's id.

    A record without an id is named by its split and line.
    """
    path, unit = (found.archive, f"{found.member} line") if isinstance(found, MemberPath) else (found, "line")
    rows = represent(
        stream_lines(found),
        source=source,
        unit=unit,
        raw=raw,
        path=path,
        identify=lambda key, record: (identify(key, record), split),
        build=build,
        seen=seen,
    )
    unnamed = f"{source}/{path.relative_to(raw).as_posix()}-"
    for row in rows:
        if isinstance(row, Rejected) and row.id.startswith(unnamed):
            line = row.provenance.record.rpartition(" ")[2]
            row = replace(row, id=f"{source}/{split}-line-{line}", split=split)
        yield row
