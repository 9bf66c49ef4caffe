from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.datasets.readers.columnar import NUM_ROWS, read_columns, stream_arrow, stream_parquet
from openmedq.errors import SourceError
from tests.memory import measure_peak, takes_less_than

Write = Callable[[pa.Table, Path], None]


def write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=100)


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)


KINDS = pytest.mark.parametrize(
    ("write", "stream"),
    [(write_parquet, stream_parquet), (write_stream, stream_arrow)],
    ids=["parquet", "arrow"],
)
TABLE = pa.table({"n": list(range(250)), "t": [f"text {n}" for n in range(250)]})


def test_a_stream_that_is_cut_between_two_batches_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_stream(TABLE, tmp_path / "t")
    assert len(list(stream_arrow(tmp_path / "t", ["t"]))) == 250
    assert not caplog.messages
    whole = (tmp_path / "t").read_bytes()
    (tmp_path / "t").write_bytes(whole[: whole.rindex(b"\xff\xff\xff\xff", 0, -8)])  # where the last batch begins
    assert len(list(stream_arrow(tmp_path / "t", ["t"]))) == 200
    assert caplog.messages == [f"{tmp_path / 't'}: no end-of-stream marker, so rows may be missing; get the file again"]


def test_an_offset_that_points_elsewhere_is_one_line(tmp_path: Path) -> None:
    texts = pa.array(["a" * 77_777, "b"])  # the offsets are 0, 77,777 and 77,778
    offset = (77_777).to_bytes(4, "little")
    for column in (texts, pa.StructArray.from_arrays([texts], ["t"]), pa.ListArray.from_arrays([0, 2], texts)):
        write_stream(pa.table({"t": column}), tmp_path / "t")
        data = (tmp_path / "t").read_bytes()
        assert data.count(offset) == 1
        (tmp_path / "t").write_bytes(data.replace(offset, b"\0\0\0\x7f"))  # in another process's memory, if anywhere
        with pytest.raises(SourceError, match="not a whole Arrow file"):
            list(stream_arrow(tmp_path / "t", ["t"]))


def test_a_name_that_is_not_utf_8_is_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"caf?": [1]}), tmp_path / "t", store_schema=False)
    (tmp_path / "t").write_bytes((tmp_path / "t").read_bytes().replace(b"caf?", b"caf\xe9"))
    for read in (read_columns, lambda path: list(stream_parquet(path, ["t"]))):
        with pytest.raises(SourceError, match="not a whole Parquet file"):
            read(tmp_path / "t")


@KINDS
def test_foreign_bytes_are_one_line(tmp_path: Path, write: Write, stream: Callable[..., Iterator[Any]]) -> None:
    write(pa.table({"t": pa.array([b"good", b"caf\xe9"]).view(pa.string())}), tmp_path / "t")
    with pytest.raises(SourceError, match=r"not a whole (Parquet|Arrow) file"):
        list(stream(tmp_path / "t", ["t"]))


@KINDS
def test_memory_does_not_grow_with_the_file(tmp_path: Path, write: Write, stream: Callable[..., Iterator[Any]]) -> None:
    def read(num_rows: int) -> None:
        assert sum(1 for _ in stream(tmp_path / str(num_rows), ["b"])) == num_rows

    few_rows, many_rows = 4 * NUM_ROWS, 2000
    for num_rows in (few_rows, many_rows):
        write(pa.table({"b": [bytes(10_000)] * num_rows}), tmp_path / str(num_rows))
    assert takes_less_than(measure_peak(partial(read, few_rows)) + 2**20, partial(read, many_rows))
