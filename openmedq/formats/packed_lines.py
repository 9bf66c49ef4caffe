"""JSON lines as they are, or still in the zip that they came in: streamed from either, so memory does not grow.

Which file is which, and what a record means, is the source's business.
"""

from __future__ import annotations

import errno
import logging
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from openmedq.cards.fields import Record, represent
from openmedq.errors import ArchiveError
from openmedq.formats.json_stream import stream_lines
from openmedq.io.archives import open_members
from openmedq.io.origin import find_files
from openmedq.schema import Provenance, Rejected, Sample

_log = logging.getLogger(__name__)

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class LinesFile:
    """A JSON lines file: at `path`, or `member` of the zip that is there."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.member}" if self.member else str(self.path)


def find_lines(
    raw: Path, identify: Callable[[PurePosixPath], _Key | None], *, with_zips: bool = True
) -> dict[_Key, LinesFile]:
    """The files to which `identify` gives a key, of copies with one key the one furthest up.

    Zips are opened only where no file lies unpacked, and if they are wanted. What is left aside is named in the log.
    """
    files = [path for path, _ in find_files(raw)] if raw.is_dir() else []
    places = {PurePosixPath(path.relative_to(raw).as_posix()): LinesFile(path) for path in files}
    found = _choose(places, identify)
    for path in files:
        if path.suffix.lower() != ".zip":
            continue
        if found or not with_zips:
            _log.info("%s: not read: files are there unpacked, or in another archive", path)
            continue
        with open_members(path) as members:
            found = _choose({PurePosixPath(name): LinesFile(path, name) for name in members.names}, identify)
    return found


def _choose(
    places: dict[PurePosixPath, LinesFile], identify: Callable[[PurePosixPath], _Key | None]
) -> dict[_Key, LinesFile]:
    chosen: dict[_Key, LinesFile] = {}
    for place in sorted(places, key=lambda place: (len(place.parts), place)):
        key = identify(place)
        if key is not None and chosen.setdefault(key, places[place]) is not places[place]:
            _log.info("%s: not read: another copy is there", places[place])
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
    """The records of a file that holds one split, as `represent` makes them; `identify` gives the record's id.

    A record without an id of its own is called by its split and line.
    """
    rows = represent(
        stream_found(found),
        source=source,
        unit=f"{found.member} line".lstrip(),
        raw=raw,
        path=found.path,
        identify=lambda key, record: (identify(key, record), split),
        build=build,
        seen=seen,
    )
    unnamed = f"{source}/{found.path.relative_to(raw).as_posix()}-"
    for row in rows:
        if isinstance(row, Rejected) and row.id.startswith(unnamed):
            line = row.provenance.record.rpartition(" ")[2]
            row = replace(row, id=f"{source}/{split}-line-{line}", split=split)
        yield row


def stream_found(found: LinesFile) -> Iterable[tuple[str, Any]]:
    """The records of a file, each with its line number."""
    if not found.member:
        return stream_lines(found.path)
    return _stream_member(found)


def _stream_member(found: LinesFile) -> Iterator[tuple[str, Any]]:
    """As `stream_lines`; ArchiveError where the member is damaged. That the archive is safe was checked before."""
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(found.path))
            file: IO[bytes] = stack.enter_context(archive.open(found.member))
            yield from stream_lines(found.path / found.member, file)
        except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which is a place before the file
                raise
            problem = " ".join(str(error).split()) or type(error).__name__
            raise ArchiveError(f"{found.path}: {found.member}: damaged ({problem}); copy it again") from None
