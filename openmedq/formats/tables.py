"""Tables as text: CSV and its relatives, plain or gzipped, read row by row.

Bytes that are not UTF-8 become lone surrogates, so that the one row that holds them is rejected (see `cards/fields`)
and not the whole file. A text table has no end mark: one that is cut between two rows can't be told from a whole one.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Literal, cast

from openmedq.cards.fields import Unusable
from openmedq.errors import SourceError
from openmedq.schema import Reason

MAX_ROW_CHARACTERS = 2**24  # a longer row is a quote that was never closed, or no table

csv.field_size_limit(MAX_ROW_CHARACTERS)

_END = "\0end"  # a line after the last one, which an open quote swallows

Row = dict[str, str]


def stream_table(
    path: Path, needed: Sequence[str], *, delimiter: str = ",", is_quoted: bool = True, is_secret: bool = False
) -> Iterator[tuple[str, Row | Unusable]]:
    """The rows below a header, by column, each with the number of its last line; empty lines are none.

    A row with another number of fields than the header comes as the `Unusable` that says so. A column without a name
    (pandas' index) is called "". Of a table that `is_secret` no error tells what stands in place of a header.

    Raises:
        SourceError: no header, a header without one of the `needed` columns, a gzip that is cut.
    """
    lines = stream_rows(path, delimiter=delimiter, is_quoted=is_quoted)
    _, header = next(lines, ("", []))
    names = [name.strip() for name in header]
    lacking = [name for name in needed if name not in names]
    if lacking:
        found = "get the file again" if is_secret else f"found {', '.join(names)[:200] or 'nothing'}"
        raise SourceError(f"{path}: no column `{lacking[0]}`; expected {', '.join(needed)}; {found}")
    for number, fields in lines:
        if len(fields) != len(names):
            problem = f"the row has {len(fields)} fields, the header {len(names)}"
            yield number, Unusable(Reason.FIELD_MISSING, problem)
        else:
            yield number, dict(zip(names, fields, strict=True))


def stream_rows(path: Path, *, delimiter: str = ",", is_quoted: bool = True) -> Iterator[tuple[str, list[str]]]:
    """The fields of each row of a table without a header, with the number of its last line; empty lines are none."""
    with open_text(path) as file:
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE
        lines = _Lines(path, file)
        reader = csv.reader(chain(lines, [_END]), delimiter=delimiter, quoting=quoting)
        number = 0  # of the row's last line
        try:
            for fields in reader:
                if fields and fields[-1].endswith(_END) and fields != [_END]:
                    raise SourceError(f"{path}: line {number + 1}: a quote is never closed; get the file again")
                if fields and fields != [_END]:
                    yield str(reader.line_num), fields
                number = reader.line_num
                lines.num_left = MAX_ROW_CHARACTERS
        except csv.Error as error:
            raise SourceError(f"{path}: line {reader.line_num}: no table ({error}); get the file again") from None


def stream_lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a text file without their ends, each with its number from 1; blank ones are left out."""
    with open_text(path) as file:
        lines = _Lines(path, file)
        for number, line in enumerate(lines, start=1):
            lines.num_left = MAX_ROW_CHARACTERS
            text = line.rstrip("\r\n")
            if text.strip():
                yield str(number), text


class _Lines(Iterator[str]):
    """The lines of a text; SourceError where a row, which may have several, takes more than `num_left` characters."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self.num_left = MAX_ROW_CHARACTERS  # whoever reads sets it anew after a row
        self._path = path
        self._file = file
        self._num_lines = 0

    def __next__(self) -> str:
        line = self._file.readline(self.num_left + 1)
        self.num_left -= len(line)
        self._num_lines += 1
        if self.num_left < 0:
            problem = f"a row of more than {MAX_ROW_CHARACTERS} characters"
            raise SourceError(f"{self._path}: line {self._num_lines}: {problem}; get the file again")
        if not line:
            raise StopIteration
        return line


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open a text file, gzipped or plain by its first bytes: browsers unpack and keep the name. SourceError if cut."""
    with path.open("rb") as raw:
        is_packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        packed = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if is_packed else raw
        with io.TextIOWrapper(packed, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            try:
                yield file
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise SourceError(f"{path}: not a whole gzip ({error}); copy the file again") from None
