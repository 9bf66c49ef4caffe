import csv
import gzip
import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.datasets.readers import tables
from openmedq.datasets.readers.tables import stream_lines, stream_rows, stream_table
from openmedq.errors import SourceError


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_rows_come_by_column(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, b'\xef\xbb\xbf,a , b\r\n0,1,"x, ""y""\n\r\nz"\r\n\r\n1,,\r\n')
    assert list(stream_table(path, ["a", "b"])) == [
        ("4", {"": "0", "a": "1", "b": 'x, "y"\n\nz'}),
        ("6", {"": "1", "a": "", "b": ""}),
    ]


@pytest.mark.parametrize("needed", [["b"], []])
def test_no_column_hides_another(tmp_path: Path, needed: list[str]) -> None:
    with pytest.raises(SourceError, match=r"t\.csv: two columns are named `b`; rename or remove one"):
        list(stream_table(write(tmp_path / "t.csv", b"a,b,,b,\n0,1,2,3,4\n"), needed))
    assert list(stream_table(tmp_path / "t.csv", ["a"]))


_TABLE = partial(stream_table, needed=["a"])
_TALL = '"' + "x" * 4092 + '\n",'  # a row may have many lines


@pytest.mark.parametrize(
    ("read", "row", "line"),
    [
        *((read, row, 3) for read in (stream_lines, stream_rows, _TABLE) for row in ("x", "x,")),
        *((read, _TALL, 3 + 2**24 // len(_TALL)) for read in (stream_rows, _TABLE)),
    ],
)
def test_a_row_that_does_not_end_is_not_taken_in(
    tmp_path: Path, read: Callable[[Path], Iterator[Any]], row: str, line: int
) -> None:
    """A kilobyte of gzip can expand to a megabyte, so an endless row must be refused early."""
    path = write(tmp_path / "t.csv.gz", b"a\n0\n" + row.encode() * (2**24 // len(row) + 1))
    with pytest.raises(SourceError, match=rf"t\.csv\.gz: line {line}: a row of more than 16777216 characters; get"):
        list(read(path))


def test_rows_that_end_may_be_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_ROW_CHARACTERS", 20)
    path = write(tmp_path / "t.csv.gz", b"a\n" + b'"0123456\n89012345"\n' * 9)
    assert len(list(stream_rows(path))) == 10
    assert len(list(stream_lines(path))) == 19


def test_lines_keep_their_numbers(tmp_path: Path) -> None:
    assert list(stream_lines(write(tmp_path / "t.txt", b"a \r\n\n b\tc"))) == [("1", "a "), ("3", " b\tc")]


TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\0"))


@settings(max_examples=100)
@given(st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_what_csv_writes_is_read(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("a", "b"), *rows])
    path = write(tmp_path / "t.csv", buffer.getvalue().encode())
    assert [row for _, row in stream_table(path, ["a", "b"])] == [{"a": a, "b": b} for a, b in rows]
