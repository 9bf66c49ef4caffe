from pathlib import Path

import pytest

from openmedq.datasets.readers.beside import lines_beside, table_beside
from openmedq.errors import SourceError


def test_lines_and_rows_are_found_by_their_key(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"a\t\tx\ty\n\nno tab\nb \t\na\tsecond\n")
    assert lines_beside(tmp_path / "t.txt") == {"a": "\tx\ty", "b": ""}
    (tmp_path / "t.csv").write_bytes(b"ID, x \n1,one\n2,two,too long\n 3 ,three\n1,second\n")
    assert {key: row["x"] for key, row in table_beside(tmp_path / "t.csv", "ID", "x").items()} == {
        "1": "one",
        "3": "three",
    }


@pytest.mark.parametrize("data", [b"", b"\n\n", b"none\n404\ta\n"])
def test_another_layout_is_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"t\.txt: not the published layout"):
        lines_beside(path)
    with pytest.raises(SourceError, match=r"t\.txt: no column `ID`"):
        table_beside(path, "ID", "x")
