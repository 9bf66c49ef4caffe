from __future__ import annotations

import logging
import tracemalloc
from pathlib import Path

import pytest

from openmedq.errors import SourceError
from openmedq.formats.physionet import JoinedTable, find_file, stream_table, survey


def write(path: Path, keys: list[str]) -> Path:
    path.write_text("key,id,said\n" + "".join(f"{key},7,word {key}\n" for key in keys), encoding="utf-8")
    return path


@pytest.mark.parametrize("is_once", [True, False])
def test_rows_join_by_key_in_any_order(tmp_path: Path, is_once: bool) -> None:
    table = JoinedTable(write(tmp_path / "table.csv", ["a", "b", "c"]), "key", ("key", "id"), is_once=is_once)
    assert [table.take(key) for key in ("b", "a", "absent", "c")] == [
        {"said": "word b"},
        {"said": "word a"},
        {},
        {"said": "word c"},
    ]
    assert table.take("b") == ({} if is_once else {"said": "word b"})
    assert JoinedTable(None, "key", ()).take("a") == {}


def test_a_table_in_the_same_order_takes_no_memory(tmp_path: Path) -> None:
    keys = [f"key {number}" for number in range(20_000)]
    table = JoinedTable(write(tmp_path / "table.csv", keys), "key", ("key",), is_once=True)
    tracemalloc.start()
    assert all(table.take(key) for key in keys)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20  # 5 MB, if they waited


def test_a_header_that_is_no_header_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("secret,7,secret\n", encoding="utf-8")
    with pytest.raises(SourceError, match="no column `key`") as error:
        list(stream_table(path, ("key",)))
    assert "secret" not in str(error.value)


def test_a_survey_ends_a_few_levels_down(tmp_path: Path) -> None:
    near, far = tmp_path / "1/2/3/4/5/6", tmp_path / "1/2/3/4/5/6/7"
    (far / "p10").mkdir(parents=True)
    write(far / "table.csv", [])
    assert survey(tmp_path, {"table": ("table.csv",)}) == ({}, [])
    write(near / "table.csv", [])
    (near / "p10" / "p10000000").mkdir(parents=True)
    assert survey(tmp_path, {"table": ("table.csv",)}) == ({"table": near / "table.csv"}, [near])
    assert find_file([tmp_path, near], "table.csv") == near / "table.csv"
    assert find_file([near], "x" * 300) is None


def test_a_link_back_hides_and_repeats_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "files/p10").mkdir(parents=True)
    table = write(tmp_path / "table.csv", ["a"])
    for name, target in (("loop", "."), ("ring", "."), ("knot", "knot"), ("files/p11", "..")):
        (tmp_path / name).symlink_to(target)
    assert survey(tmp_path, {"table": ("table.csv",)}) == ({"table": table}, [tmp_path / "files"])
    assert not caplog.messages
