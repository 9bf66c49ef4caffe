from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmedq.datasets.readers.beside import Beside, lines_beside, table_beside
from openmedq.errors import SourceError
from tests.memory import takes_less_than


@given(keys=st.lists(st.integers(0, 20), unique=True), asked=st.lists(st.integers(0, 20), unique=True))
def test_rows_are_found_in_any_order(keys: list[int], asked: list[int]) -> None:
    beside = Beside((str(key), key) for key in keys)
    assert [beside.find(str(key)) for key in asked] == [key if key in keys else None for key in asked]
    assert [beside.find(str(key)) for key in asked] == [None] * len(asked), "each is given once, and then forgotten"


def test_in_one_order_nothing_is_kept() -> None:
    def rows() -> Iterator[tuple[str, str]]:
        for number in range(2000):
            yield str(number), f"{number}" * 1000

    def find_all() -> None:
        beside = Beside(rows())
        assert all(beside.find(str(number)) for number in range(2000))

    assert takes_less_than(2**20, find_all)


def test_lines_are_found_by_what_stands_before_the_tab(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"a\t\tx\ty\n\nno tab\nb \t\n")
    beside = lines_beside(tmp_path / "t.txt")
    assert [beside.find(key) for key in ("b", "a", "no tab")] == ["", "\tx\ty", None]


def test_rows_are_found_by_their_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"ID, x \n1,one\n2,two,too long\n 3 ,three\n")
    beside = table_beside(tmp_path / "t.csv", "ID", "x")
    assert [(beside.find(key) or {}).get("x") for key in "123"] == ["one", None, "three"]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"none\n404\ta\n"])
def test_another_layout_is_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"t\.txt: not the published layout"):
        lines_beside(path).find("a")
    with pytest.raises(SourceError, match=r"t\.txt: no column `ID`"):
        table_beside(path, "ID", "x").find("a")
