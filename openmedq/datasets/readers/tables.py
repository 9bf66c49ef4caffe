"""Stream text tables: CSV and similar formats, plain or gzipped.

A text table has no end mark, so a file that is cut between two rows looks whole. A file that is cut within a row (too
few fields and no line end, an open quote, an early end of gzip) yields its whole rows, then an `Unusable`.
"""

import csv
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO

from openmedq.datasets.fields import Unusable
from openmedq.errors import SourceError, numbered
from openmedq.schema import Reason
from openmedq.storage.archives import MemberPath
from openmedq.storage.texts import open_text

MAX_ROW_CHARACTERS = 2**24  # a longer row is an unclosed quote, or the file is not a table

MAX_CUT_LINES = 100  # an unclosed quote with more lines after it is damage, not a cut

csv.field_size_limit(MAX_ROW_CHARACTERS)

_DELIMITERS = ",;\t"  # of users' tables: Excel writes semicolons where the decimal mark is a comma

_END = "\0end"  # appended as last line: part of a field if a quote is open

Row = dict[str, str]


def stream_table(
    path: Path | MemberPath, needed: Sequence[str], delimiter: str = ",", *, is_secret: bool = False
) -> Iterator[tuple[str, Row | Unusable]]:
    """Yield the rows below a header as dicts, each with the number of its last line; empty lines are skipped.

    A row with another number of fields than the header yields an `Unusable`. A column without a name (a pandas index)
    is named "" if it is not the last. Header and rows may end with commas. Without `needed`, no two columns may share a
    name. If `is_secret`, errors do not quote the header.

    Raises:
        SourceError: No header, a header without one of the `needed` columns or with two of one name, or an unclosed
            quote far above the end.
    """
    lines = stream_rows(path, delimiter)
    header = take_header(lines)
    names = header[: max((place for place, name in enumerate(header, start=1) if name), default=0)]
    lacking = [name for name in needed if name not in names]
    if lacking:
        found = "its columns are not shown" if is_secret else f"found {', '.join(names)[:200] or 'nothing'}"
        raise SourceError(
            f"{path}: no column `{lacking[0]}`; expected {', '.join(needed)}; {found}; get the file again"
        )
    if repeated := [name for name in needed or filter(None, names) if names.count(name) > 1]:
        raise SourceError(f"{path}: two columns are named `{repeated[0]}`; rename or remove one")
    for number, fields in lines:
        if isinstance(fields, Unusable):
            yield number, fields
        elif len(fields) < len(names) or any(fields[len(header) :]):
            problem = f"the row has {numbered(len(fields), 'field')}, the header {len(names)}"
            yield number, Unusable(Reason.FIELD_MISSING, problem)
        else:
            yield number, dict(zip(names, fields, strict=False))


def stream_rows(path: Path | MemberPath, delimiter: str = ",") -> Iterator[tuple[str, list[str] | Unusable]]:
    """Yield the fields of each row, the header included, with the number of its last line; empty lines are skipped."""
    with open_text(path) as file:
        lines = _Lines(path, file)
        reader = csv.reader(chain(lines, [_END]), delimiter=delimiter)
        number = num_columns = 0  # `number` is the last line of the previous row
        try:
            for fields in reader:
                if fields == [_END]:
                    break
                if fields and fields[-1].endswith(_END):
                    if lines.num_lines - number > MAX_CUT_LINES:
                        raise SourceError(f"{path}: line {number + 1}: a quote is never closed; get the file again")
                    where = str(max(lines.num_lines, number + 1))
                    yield where, _cut(f"a quote that line {number + 1} opens is never closed")
                elif fields and lines.is_open and len(fields) < num_columns:
                    yield (
                        str(reader.line_num),
                        _cut(f"the last row has {numbered(len(fields), 'field')} of {num_columns}"),
                    )
                elif fields:
                    num_columns = num_columns or len("\0".join(fields).rstrip(" \0").split("\0"))
                    yield str(reader.line_num), fields
                number = reader.line_num
                lines.num_left = MAX_ROW_CHARACTERS
        except csv.Error as error:
            raise SourceError(f"{path}: line {reader.line_num}: not a table ({error}); get the file again") from None
        if lines.is_cut:
            yield str(lines.num_lines + 1), _cut("the gzip ends early")


def take_header(rows: Iterator[tuple[str, list[str] | Unusable]]) -> list[str]:
    """Consume the first row and return its names, stripped; empty if there is no whole row."""
    _, header = next(rows, ("", []))
    return [] if isinstance(header, Unusable) else [name.strip() for name in header]


def find_delimiter(path: Path, names: Collection[str]) -> tuple[str, list[str]]:
    """The delimiter of a user's table by which most of `names` are in its header, and this header."""
    headers = {each: take_header(stream_rows(path, each)) for each in _DELIMITERS}
    delimiter = max(headers, key=lambda each: len({*names} & {*headers[each]}))
    return delimiter, headers[delimiter]


def _cut(problem: str) -> Unusable:
    return Unusable(Reason.FILE_TRUNCATED, f"the file is cut: {problem}; get it again")


def stream_lines(path: Path, *, with_ends: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the lines of a text file, each with its number from 1, without line ends by default; no blank lines."""
    with open_text(path) as file:
        lines = _Lines(path, file)
        for number, line in enumerate(lines, start=1):
            lines.num_left = MAX_ROW_CHARACTERS
            if line.strip():
                yield str(number), line if with_ends else line.rstrip("\r\n")
        if lines.is_cut:
            raise EOFError("it ends early")


class _Lines(Iterator[str]):
    """The lines of a text; SourceError if the lines of one row have more than `num_left` characters."""

    def __init__(self, path: Path | MemberPath, file: IO[str]) -> None:
        self.num_left = MAX_ROW_CHARACTERS  # the caller resets it after each row
        self.num_lines = 0
        self.is_open = False  # the last line has no line end
        self.is_cut = False  # a gzip ended early
        self._path = path
        self._file = file

    def __next__(self) -> str:
        try:
            line = self._file.readline(self.num_left + 1)
        except EOFError:
            self.is_cut = True
            raise StopIteration from None
        if not line:
            raise StopIteration
        self.num_left -= len(line)
        self.num_lines += 1
        self.is_open = not line.endswith(("\n", "\r"))
        line = f"{line[:-2]}\n" if line.endswith("\r\n") else line  # a quoted field may have several lines
        if self.num_left < 0:
            problem = f"a row of more than {MAX_ROW_CHARACTERS} characters"
            raise SourceError(f"{self._path}: line {self.num_lines}: {problem}; get the file again")
        return line
