"""Files that lie beside a list and say more of its records, as several text tables of one order are published."""

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
    """The rows of a file by key, read in step with who asks.

    Where both are in one order, memory holds one row. The order is not trusted: rows that were passed over are kept
    until they are asked for, so that memory holds the rest of the file at worst.
    """

    def __init__(self, rows: Iterable[tuple[str, T]] = ()) -> None:
        self._rows = iter(rows)
        self._passed: dict[str, T] = {}
        self.num_found = 0

    def find(self, key: str) -> T | None:
        """The row of that key, once; None where there is none, or it was given already."""
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
        """The keys that were not asked for, each once; the file is then at its end."""
        for found, row in self._rows:
            self._passed[found] = row
        yield from self._passed


@contextmanager
def open_lines_beside(path: Path) -> Iterator[Beside[str]]:
    """What stands behind the key and a tab, line by line; empty where there is no such file.

    A line without a tab is left out. SourceError where the first one is such a line, or there is none.
    """
    with _close(_stream_lines(path) if path.is_file() else _nothing()) as lines:
        yield Beside(lines)


@contextmanager
def open_table_beside(path: Path, key: str, *needed: str) -> Iterator[Beside[Row]]:
    """The rows of a CSV by the column `key`; empty where there is no such file.

    A row of another length than the header is left out. SourceError where a column lacks.
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
        raise SourceError(f"{path}: not the published layout: no line of an id, a tab and more; get the file again")


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
        rows.close()  # and with it the file
