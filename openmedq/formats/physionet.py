"""Credentialed projects of PhysioNet: what who reads them has signed not to share stays out of errors.

An error names tables and archives alone. No path of a patient's folder, no member's name and nothing that stands in a
table reaches it, not even as what was found in place of a header. What a project holds is its source's business.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from openmedq.cards.fields import Unusable
from openmedq.errors import ArchiveError, SourceError
from openmedq.formats import tables
from openmedq.formats.tables import Row
from openmedq.io.archives import Members, open_members
from openmedq.io.folders import walk
from openmedq.schema import Reason

NUM_LEVELS = 7  # raw and six below: physionet.org/files/<project>/<version>/<archive>/files, as wget and unzip do it

_PATIENTS = re.compile(r"p\d\d")  # p10 to p19; in the 65,379 patients' folders below, nothing is looked for
_ENTERED_NEVER = re.compile(r"[ps]\d+")

_log = logging.getLogger(__name__)


def survey(raw: Path, names: Mapping[str, Sequence[str]]) -> tuple[dict[str, Path], list[Path]]:
    """Where the files called one of `names[key]` lie, by key, and the folders that hold p10 to p19, wherever below raw.

    Of several versions the last by name is taken, and the others are named in the log.
    """
    keys = {name: key for key, called in names.items() for name in called}
    candidates: dict[str, list[Path]] = {}
    folders = []
    for folder, inner, files in walk(raw, NUM_LEVELS - 1, lambda name: not _ENTERED_NEVER.fullmatch(name)):
        for name in keys.keys() & files:
            candidates.setdefault(keys[name], []).append(folder / name)
        if any(map(_PATIENTS.fullmatch, inner)):
            folders.append(folder)
    found = {key: max(paths) for key, paths in candidates.items()}
    for key, paths in candidates.items():
        for path in sorted(set(paths) - {found[key]}):
            _log.info("%s: not read: %s is there", path, found[key])
    return found, sorted(folders)


def find_file(folders: Sequence[Path], name: str) -> Path | None:
    """The file of that name in the first folder that has it."""
    paths = (folder / name for folder in folders)
    return next((path for path in paths if os.path.isfile(path)), None)  # noqa: PTH113 Path's raises, and names it


def stream_table(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, Row | Unusable]]:
    """As `formats.tables` gives a table, but where a column lacks, what was found is not told: it may be a record."""
    return tables.stream_table(path, needed, is_secret=True)


class JoinedTable:
    """Another table's rows by key, read on as far as is asked for; those met on the way wait in memory, packed.

    With `is_once` a row that was asked for is let go: two tables in the same order then take no memory.
    """

    def __init__(self, path: Path | None, key: str, ids: Sequence[str], *, is_once: bool = False) -> None:
        """The table at `path`, if there is one; the columns `ids` are no part of what is taken from it."""
        self._path = path
        self._key = key
        self._ids = ids
        self._is_once = is_once
        self._rows = stream_table(path, (key,)) if path else iter(())
        self._waiting: dict[str, str] = {}

    def take(self, key: str) -> dict[str, str]:
        """What the row says; empty where the table has no such row. SourceError where the table is damaged."""
        while key not in self._waiting:
            number, row = next(self._rows, ("", None))
            if row is None:
                return {}
            if isinstance(row, Unusable):  # no record is lost by it, so that no rejected one would tell of it
                raise SourceError(f"{self._path}: line {number}: {row.detail}; get the file again")
            said = {name: value for name, value in row.items() if name and value.strip() and name not in self._ids}
            packed = json.dumps(said, separators=(",", ":"))
            self._waiting.setdefault(row[self._key].strip(), packed if self._is_once else sys.intern(packed))
        packed = self._waiting.pop(key) if self._is_once else self._waiting[key]
        return dict(json.loads(packed))


class Texts:
    """Texts by name, out of the archive where it is there and has them, else from the folders."""

    def __init__(self, path: Path | None, folders: Sequence[Path], stack: ExitStack, *, absent: str) -> None:
        """The archive at `path` is open as long as `stack` is; SourceError where it is cut or hostile.

        `absent` is what is said of a text that is not there.
        """
        self._folders = folders
        self._absent = absent
        self._members: Members | None = None
        if path:
            try:
                self._members = stack.enter_context(open_members(path))
            except ArchiveError:  # which may name a member
                raise SourceError(f"{path}: not a whole archive, or an unsafe one; copy it again") from None

    def take(self, name: str) -> str:
        """The text; Unusable where it is absent or can't be read."""
        try:
            data = self._read(name)
        except (ArchiveError, OSError):
            raise Unusable(Reason.FIELD_MISSING, "the study's report can't be read") from None
        if data is None:
            raise Unusable(Reason.FIELD_MISSING, self._absent)
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Unusable(Reason.NOT_UTF8, "the study's report is not UTF-8") from None

    def _read(self, name: str) -> bytes | None:
        member = self._members.find(name) if self._members else None
        if self._members and member and f"/{member}".endswith(f"/{name}"):  # not one of another patient
            return self._members.read(member)
        path = find_file(self._folders, name)
        return path.read_bytes() if path else None
