"""The layout of PhysioNet's credentialed projects, and errors that do not disclose their content.

Errors name tables and archives only, and contain no path of a patient's folder, no member's name and no content of a
table, not even in place of its header.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from openmedq.datasets.card import File
from openmedq.datasets.fields import Unusable, decode_file
from openmedq.datasets.readers import use_first
from openmedq.datasets.readers.tables import stream_lines, stream_table
from openmedq.errors import ArchiveError, SourceError
from openmedq.schema import Reason
from openmedq.storage import unexpected
from openmedq.storage.archives import Members, open_members
from openmedq.storage.folders import spellings, walk

NUM_LEVELS = 7  # `raw` and six below, for wget and unzip: physionet.org/files/<project>/<version>/<archive>/files

LISTING = "IMAGE_FILENAMES"  # of a project of JPGs: one image path per line
SUMS = "SHA256SUMS.txt"  # of any project: a sha256, a space and a path per line

ADVICE = (
    "become a credentialed user (https://physionet.org/settings/credentialing/), complete the training in research "
    "with human subjects that the dataset's page names, and sign its agreement there; each user must do so"
)
TERMS = """\
PhysioNet Credentialed Health Data Use Agreement 1.5.0, in short; the agreement that you signed is binding.
 1. Do not try to identify a person or an institution in the data.
 2. Make sure that nothing you publish discloses an identity.
 3. Share access with nobody: each colleague must apply.
 4. Keep the data safe, physically and electronically.
 5. Report anything that might identify a person immediately to PHI-report@physionet.org.
 6. Use the data for lawful scientific research only.
 7. Complete a training in research with human subjects and in privacy (HIPAA), and submit its certificate.
 8. State the general purpose of your research when you apply.
 9. Publish the code for openly published results.
10. Either side may end the agreement; the obligations about the data remain.
Do not send any of the data to a third party's service, such as the API or chat of a language model that retains it
(https://physionet.org/news/post/llm-responsible-use)."""

_IMAGE_PATH = re.compile(r"files/p([0-9]{2})/p\1[0-9]+/s[0-9]+/[0-9A-Za-z-]+\.jpg")
_SUM = re.compile(r"([0-9a-f]{64}) +\*?(.+)")  # sha256sum writes a star before the path of a file read in binary mode
_PATIENTS = re.compile(r"p\d\d")  # p10 to p19, which contain the folders of 65,379 patients
_ENTERED_NEVER = re.compile(r"[ps]\d+")

_log = logging.getLogger(__name__)


def locate_files(raw: Path, names: Mapping[str, Sequence[str]]) -> tuple[dict[str, Path], list[Path]]:
    """Find, below `raw`, the file with one of `names[key]`, by key, and the folders that contain p10 to p19.

    Of several versions the last by name is used, and the others are logged.
    """
    keys = {spelled: key for key, called in names.items() for name in called for spelled in spellings(name)}
    candidates: dict[str, list[Path]] = {}
    folders = []
    for folder, inner, files in walk(raw, NUM_LEVELS - 1, lambda name: not _ENTERED_NEVER.fullmatch(name)):
        for name in keys.keys() & files:
            candidates.setdefault(keys[name], []).append(folder / name)
        if any(map(_PATIENTS.fullmatch, inner)):
            folders.append(folder)
    return {key: use_first(sorted(paths, reverse=True)) for key, paths in candidates.items()}, sorted(folders)


def find_file(folders: Sequence[Path], name: str) -> Path | None:
    """Return the file of that name in the first folder that has it."""
    paths = (folder / spelled for folder in folders for spelled in spellings(name))
    return next((path for path in paths if os.path.isfile(path)), None)  # noqa: PTH113 Path.is_file may raise an error that quotes the name


def list_files(raw: Path, url: str, tables: Sequence[str]) -> Iterator[File]:
    """Yield the images in a project's LISTING, then its tables, with their sha256 in SUMS.

    SourceError, which quotes no path of an image, for a malformed line.
    """
    sums = dict(_stream_sums(raw / SUMS))  # 300 bytes per image

    def describe(path: str) -> File:
        digest = sums.get(path)
        return File(path=path, url=f"{url}/{path}", sha256=digest.hex() if digest else None)

    seen: set[int] = set()
    num_without = 0
    for number, line in stream_lines(raw / LISTING):
        if not _IMAGE_PATH.fullmatch(line) or hash(line) in seen:
            raise SourceError(f"{raw / LISTING}: line {number}: not an image path, or repeated; get the file again")
        seen.add(hash(line))
        file = describe(line)
        num_without += file.sha256 is None
        yield file
    if not seen:
        raise SourceError(f"{raw / LISTING}: lists no image; get the file again")
    if num_without:
        _log.info("%s: no checksum of %d of %d images, which are not verified", raw / SUMS, num_without, len(seen))
    yield from (file for file in map(describe, tables) if file.sha256)


def _stream_sums(path: Path) -> Iterator[tuple[str, bytes]]:
    for number, line in stream_lines(path):
        match = _SUM.fullmatch(line)
        if match is None:
            raise SourceError(f"{path}: line {number}: expected a sha256, a space and a path; get the file again")
        yield match[2], bytes.fromhex(match[1])


def table_beside(path: Path | None, key: str, ids: Sequence[str]) -> dict[str, str]:
    """Read a table's rows by key, as JSON of their non-empty fields without the columns `ids`; empty without a table.

    SourceError if the table is damaged, because a damaged row is not a record that could be rejected.
    """
    found: dict[str, str] = {}
    for number, row in stream_table(path, (key,), is_secret=True) if path else ():
        if not isinstance(row, Unusable):
            fields = {name: value for name, value in row.items() if name and value.strip() and name not in ids}
            packed = sys.intern(json.dumps(fields, separators=(",", ":")))  # many studies have the same labels
            found.setdefault(row[key].strip(), packed)
        elif row.reason is Reason.FILE_TRUNCATED:
            _log.warning("%s: line %s: %s; its fields for the records below are lost", path, number, row.detail)
        else:
            raise SourceError(f"{path}: line {number}: {row.detail}; get the file again")
    return found


class Texts:
    """Texts by name, from the archive if it has them, or else from the folders."""

    def __init__(self, path: Path | None, folders: Sequence[Path], stack: ExitStack, *, absent: str) -> None:
        """`stack` closes the archive at `path`. `absent` is the detail for a missing text.

        SourceError if the archive is damaged or unsafe.
        """
        self._folders = folders
        self._absent = absent
        self._members: Members | None = None
        if path:
            unexpected.refuse(path, kind=unexpected.ARCHIVE)  # its error names no member
            try:
                self._members = stack.enter_context(open_members(path))
            except ArchiveError:  # its text may name a member
                raise SourceError(f"{path}: not a whole archive, or an unsafe one; copy it again") from None

    def take(self, name: str) -> str:
        """Return the text; Unusable if it is absent or unreadable."""
        try:
            data = self._read(name)
        except (ArchiveError, OSError):
            raise Unusable(Reason.FIELD_MISSING, "the study's report cannot be read") from None
        if data is None:
            raise Unusable(Reason.FIELD_MISSING, self._absent)
        return decode_file(data, "the study's report")

    def _read(self, name: str) -> bytes | None:
        member = self._members.find(name) if self._members else None
        if self._members and member and f"/{member}".endswith(f"/{name}"):  # not the report of another patient
            return self._members.read(member)
        path = find_file(self._folders, name)
        return path.read_bytes() if path else None
