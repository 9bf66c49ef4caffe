"""Files beside a list of records that add fields to them, usually in the same order as the list."""

import logging
from collections.abc import Iterable, Iterator
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

    If the file has the order of the lookups, memory holds one row. Skipped rows are kept until they are looked up; with
    `is_kept`, also after that, for rows that are looked up several times.
    """

    def __init__(self, rows: Iterable[tuple[str, T]], *, is_kept: bool = False) -> None:
        self._rows = iter(rows)
        self._passed: dict[str, T] = {}
        self._is_kept = is_kept

    def find(self, key: str) -> T | None:
        """Return the row with this key; None if there is none, or it was returned before and is not kept."""
        while key not in self._passed:
            passed = next(self._rows, None)
            if passed is None:
                return None
            self._passed.setdefault(*passed)
        return self._passed[key] if self._is_kept else self._passed.pop(key)

    def rest(self) -> Iterator[str]:
        """Read the file to its end and yield the keys that were not looked up."""
        self._passed.update(self._rows)
        yield from self._passed


def lines_beside(path: Path) -> Beside[str]:
    """Look up lines of key, tab and text by key; empty if there is no such file.

    Lines without a tab are skipped. SourceError if the first line has none or the file is empty.
    """
    return Beside(_stream_lines(path) if path.is_file() else ())


def table_beside(path: Path, key: str, *needed: str) -> Beside[Row]:
    """Look up the rows of a CSV by the column `key`; empty if there is no such file.

    Rows whose length differs from the header are skipped. SourceError if a column is missing.
    """
    return Beside(_stream_rows(path, key, needed) if path.is_file() else ())


def _stream_lines(path: Path) -> Iterator[tuple[str, str]]:
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


def _stream_rows(path: Path, key: str, needed: tuple[str, ...]) -> Iterator[tuple[str, Row]]:
    for _, row in stream_table(path, (key, *needed)):
        if isinstance(row, Unusable) and row.reason is Reason.FILE_TRUNCATED:
            _log.warning("%s: %s", path, row.detail)
        if not isinstance(row, Unusable):
            yield row[key].strip(), row
