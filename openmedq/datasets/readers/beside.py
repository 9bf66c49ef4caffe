"""Files beside a list of records that add fields to them, usually in the same order as the list."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from openmedq.datasets.fields import Unusable
from openmedq.datasets.readers.tables import Row, stream_lines, stream_table
from openmedq.errors import SourceError
from openmedq.schema import Reason

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Beside(Generic[T]):
    """Look up a file's rows by key while reading it only as far as needed.

    If the file has the order of the lookups, memory holds one row. Skipped rows are kept until they are looked up.
    """

    def __init__(self, rows: Iterable[tuple[str, T]] = ()) -> None:
        self._rows = iter(rows)
        self._passed: dict[str, T] = {}
        self.num_found = 0

    def find(self, key: str) -> T | None:
        """Return the row with this key; None if there is none or it was returned before."""
        if key in self._passed:
            self.num_found += 1
            return self._passed.pop(key)
        for found, row in self._rows:
            if found == key:
                self.num_found += 1
                return row
            self._passed[found] = row
        return None

    def rest(self) -> Iterator[str]:
        """Read the file to its end and yield the keys that were not looked up."""
        for found, row in self._rows:
            self._passed[found] = row
        yield from self._passed


@contextmanager
def open_lines_beside(path: Path) -> Iterator[Beside[str]]:
    """Look up lines of key, tab and text by key; empty if there is no such file.

    Lines without a tab are skipped. SourceError if the first line has none or the file is empty.
    """
    with _close(_stream_lines(path) if path.is_file() else _nothing()) as lines:
        yield Beside(lines)


@contextmanager
def open_table_beside(path: Path, key: str, *needed: str) -> Iterator[Beside[Row]]:
    """Look up the rows of a CSV by the column `key`; empty if there is no such file.

    Rows whose length differs from the header are skipped. SourceError if a column is missing.
    """
    with _close(_stream_rows(path, key, needed) if path.is_file() else _nothing()) as rows:
        yield Beside(rows)


def _stream_lines(path: Path) -> Generator[tuple[str, str], None, None]:
    is_first = True
    for _, line in stream_lines(path):
        key, tab, rest = line.partition("\t")
        if tab:
            yield key.strip(), rest
        elif is_first:
            break
        is_first = False
    if is_first:
        raise SourceError(f"{path}: not the published layout: no line of an id, a tab and a text; get the file again")


def _stream_rows(path: Path, key: str, needed: tuple[str, ...]) -> Generator[tuple[str, Row], None, None]:
    for _, row in stream_table(path, (key, *needed)):
        if isinstance(row, Unusable) and row.reason is Reason.FILE_TRUNCATED:
            _log.warning("%s: %s", path, row.detail)
        if not isinstance(row, Unusable):
            yield row[key].strip(), row


def _nothing() -> Generator[tuple[str, T], None, None]:
    yield from ()


@contextmanager
def _close(rows: Generator[tuple[str, T], None, None]) -> Iterator[Generator[tuple[str, T], None, None]]:
    try:
        yield rows
    finally:
        rows.close()  # closes the file too
