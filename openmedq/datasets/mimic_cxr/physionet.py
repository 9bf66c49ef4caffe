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

from openmedq.datasets.card import File
from openmedq.datasets.fields import Unusable
from openmedq.datasets.readers import tables
from openmedq.datasets.readers.beside import Beside
from openmedq.datasets.readers.tables import Row, stream_lines
from openmedq.errors import ArchiveError, SourceError
from openmedq.schema import Reason
from openmedq.storage import unexpected
from openmedq.storage.archives import Members, open_members
from openmedq.storage.folders import walk
from openmedq.storage.texts import decode_text

NUM_LEVELS = 7  # raw and six below: physionet.org/files/<project>/<version>/<archive>/files, as wget and unzip do it

LISTING = "IMAGE_FILENAMES"  # of a project of JPGs: a picture's path a line
SUMS = "SHA256SUMS.txt"  # of any project: a sha256, a space and a path a line

ADVICE = (
    "become a credentialed user (https://physionet.org/settings/credentialing/), take the training in research with "
    "human subjects that the set's page names, and sign its agreement there; each reader does so alone"
)
TERMS = """\
PhysioNet Credentialed Health Data Use Agreement 1.5.0, in short; what counts is what you signed there.
 1. Do not try to identify a person or an institution in the data.
 2. Take care that nothing you publish discloses an identity.
 3. Share access with nobody: each colleague applies alone.
 4. Keep the data safe, physically and electronically.
 5. Report what might identify someone at once to PHI-report@physionet.org.
 6. Use the data for lawful scientific research alone.
 7. Complete a training in research with human subjects and in privacy (HIPAA), and prove it.
 8. State the general purpose of your research when you apply.
 9. Publish the code that belongs to openly published results.
10. Either side may end the agreement; the duties about the data stay.
Nothing of it may reach a third party's service: no API or chat of a language model that retains what it is sent
(https://physionet.org/news/post/llm-responsible-use)."""

_PICTURE = re.compile(r"files/p([0-9]{2})/p\1[0-9]+/s[0-9]+/[0-9A-Za-z-]+\.jpg")
_SUM = re.compile(r"([0-9a-f]{64}) +\*?(.+)")  # sha256sum writes a star before the path of what it read as bytes
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


def list_files(raw: Path, url: str, tables: Sequence[str]) -> Iterator[File]:
    """The pictures that a project's LISTING names, then its tables, each with the sha256 that its SUMS has of it.

    Both are read in step; memory holds less than 200 bytes a picture, in whichever order they are. SourceError, which
    names no path of a picture, for a line of another shape.
    """
    sums = Beside(_stream_sums(raw / SUMS))

    def describe(path: str) -> File:
        digest = sums.find(path)
        return File(path=path, url=f"{url}/{path}", sha256=digest.hex() if digest else None)

    seen: set[int] = set()
    num_without = 0
    for number, line in stream_lines(raw / LISTING):
        if not _PICTURE.fullmatch(line) or hash(line) in seen:
            raise SourceError(f"{raw / LISTING}: line {number}: no path of a further picture; get the file again")
        seen.add(hash(line))
        file = describe(line)
        num_without += file.sha256 is None
        yield file
    if not seen:
        raise SourceError(f"{raw / LISTING}: names no picture; get the file again")
    if num_without:
        _log.info(
            "%s: has no digest of %d of %d pictures, which are taken as they are", raw / SUMS, num_without, len(seen)
        )
    yield from (file for file in map(describe, tables) if file.sha256)


def _stream_sums(path: Path) -> Iterator[tuple[str, bytes]]:
    for number, line in stream_lines(path):
        match = _SUM.fullmatch(line)
        if match is None:
            raise SourceError(f"{path}: line {number}: expected a sha256, a space and a path; get the file again")
        yield match[2], bytes.fromhex(match[1])


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
        self.num_taken = 0

    def take(self, key: str) -> dict[str, str]:
        """What the row says; empty where the table has no such row. SourceError where the table is damaged."""
        while key not in self._waiting:
            number, row = next(self._rows, ("", None))
            if row is None:
                return {}
            if isinstance(row, Unusable) and row.reason is Reason.FILE_TRUNCATED:
                _log.warning(
                    "%s: line %s: %s; what it has of the records below is lost", self._path, number, row.detail
                )
                continue
            if isinstance(row, Unusable):  # no record is lost by it, so that no rejected one would tell of it
                raise SourceError(f"{self._path}: line {number}: {row.detail}; get the file again")
            said = {name: value for name, value in row.items() if name and value.strip() and name not in self._ids}
            packed = json.dumps(said, separators=(",", ":"))
            self._waiting.setdefault(row[self._key].strip(), packed if self._is_once else sys.intern(packed))
        self.num_taken += 1
        packed = self._waiting.pop(key) if self._is_once else self._waiting[key]
        return dict(json.loads(packed))

    def count_rest(self, pattern: re.Pattern[str]) -> int:
        """How many rows whose key is of that pattern were not asked for; the table is then at its end."""
        rest = (row[self._key].strip() for _, row in self._rows if not isinstance(row, Unusable))
        return sum(pattern.fullmatch(key) is not None for key in {*self._waiting, *rest})


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
            unexpected.refuse(path, kind=unexpected.ARCHIVE)  # whose error names no member
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
        if found := unexpected.describe(data):
            raise Unusable(Reason.FIELD_MISSING, f"the study's report is {found[0]}; {found[1]}")
        text = decode_text(data)
        if any("\udc00" <= character <= "\udfff" for character in text):
            raise Unusable(Reason.NOT_UTF8, "the study's report is not UTF-8")
        return text

    def _read(self, name: str) -> bytes | None:
        member = self._members.find(name) if self._members else None
        if self._members and member and f"/{member}".endswith(f"/{name}"):  # not one of another patient
            return self._members.read(member)
        path = find_file(self._folders, name)
        return path.read_bytes() if path else None
