"""Samples in Parquet: written as a stream, read back by column or one by one at random.

A shard is a file of row groups small enough that one row costs little to read. A picture that neighboring rows share
is stored once a row group (Parquet's dictionary does it). The schema is `schema.py`'s; what makes a sample good is
nobody's business here.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openmedq.errors import StaleError
from openmedq.schema import REJECTED_SCHEMA, SAMPLE_SCHEMA, Rejected, Sample
from openmedq.storage import records
from openmedq.storage.folders import find_all
from openmedq.storage.records import Record, Row
from openmedq.storage.tables import damage_as_stale, remake

if TYPE_CHECKING:
    from openmedq.config import Normalize

REJECTED = "rejected.parquet"

# Writing --------------------------------------------------------------------------------------------------------------


def _write(rows: Iterable[Row], folder: Path, settings: Normalize) -> int:
    num_rows = num_shards = 0
    groups = _group(rows, settings)
    group = next(groups, None)
    while group is not None:
        path = folder / f"shard-{num_shards:05}.parquet"
        with path.open("wb") as file, _open_writer(file, SAMPLE_SCHEMA, settings.row_group_size_bytes) as writer:
            while group is not None and file.tell() < settings.shard_size_bytes:
                writer.write_table(pa.Table.from_pylist(group, SAMPLE_SCHEMA))
                num_rows += len(group)
                group = next(groups, None)
        num_shards += 1
    return num_rows


class RejectedRows:
    """An open `rejected.parquet`: `add` each record that was rejected."""

    GROUP_ROWS = 10_000

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._records: list[Record] = []

    def add(self, rejected: Rejected) -> None:
        """Write down one record."""
        names = ("id", "source", "split", "reason", "detail")
        record: Record = {name: records.clean(str(getattr(rejected, name))) for name in names}
        record["provenance"] = records.write_provenance(rejected.provenance)
        self._records.append(record)
        if len(self._records) == self.GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if not self._records:
            return
        self._writer.write_table(pa.Table.from_pylist(self._records, REJECTED_SCHEMA))
        self._records.clear()


@contextmanager
def write_rejected(folder: Path) -> Iterator[RejectedRows]:
    """Open `folder/rejected.parquet` for writing; without a record it is an empty table."""
    with (folder / REJECTED).open("wb") as file, _open_writer(file, REJECTED_SCHEMA) as writer:
        rows = RejectedRows(writer)
        yield rows
        rows.flush()


def _open_writer(file: Any, schema: pa.Schema, dictionary_size_bytes: int = 2**20) -> pq.ParquetWriter:
    # Content-defined chunking is left off: it splits pages at every picture, and repeated ones are then stored anew.
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        dictionary_pagesize_limit=dictionary_size_bytes,
        write_page_index=True,
        write_page_checksum=True,
    )


def _group(rows: Iterable[Row], settings: Normalize) -> Iterator[list[Record]]:
    """Rows in groups: closed when the pictures and texts have grown to the size, or the rows to the number."""
    group: list[Record] = []
    size_bytes = 0
    for row in rows:
        group.append(records.from_row(row))
        size_bytes += sum(len(picture.data) for picture in row.pictures)
        size_bytes += sum(len(turn.question) + len(turn.answer) + len(turn.context) for turn in row.sample.turns)
        if size_bytes >= settings.row_group_size_bytes or len(group) == settings.row_group_rows:
            yield group
            group, size_bytes = [], 0
    if group:
        yield group


# Reading --------------------------------------------------------------------------------------------------------------


def find_shards(folder: Path) -> list[Path]:
    """The shards of a set, in the order of their rows."""
    return find_all(folder, "shard-*.parquet")


class Group(NamedTuple):
    """Some columns of a row group."""

    source: str
    shard: str  # file name
    number: int
    first: int  # place of its first row in the shard
    rows: pa.RecordBatch


class ShardStore:
    """Reads and writes the shards of a folder: of one dataset, or, for an index, of all of them, a folder each.

    A row group is read at a time, so memory does not grow with the data, and each page is held to its checksum. Damage
    is a StaleError with shard, row group and the command that writes it again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, rows: Iterable[Row], settings: Normalize) -> int:
        """Write the rows as shards of the folder; how many there were. Memory holds one row group."""
        return _write(rows, self.folder, settings)

    def scan(self, columns: Sequence[str]) -> Iterator[Group]:
        """The columns of all rows of the dataset in order; a nested one is `pictures.list.element.phash`."""
        for path in find_shards(self.folder):
            yield from _read_groups(path, columns)

    def read(self, columns: Sequence[str]) -> pa.Table:
        """The columns of all rows as one table: for columns that fit into memory."""
        batches = [group.rows for group in self.scan(columns)]
        if not batches:
            roots = dict.fromkeys(column.split(".")[0] for column in columns)
            return pa.schema([SAMPLE_SCHEMA.field(root) for root in roots]).empty_table()
        return pa.Table.from_batches(batches)

    def scan_index(self, index: pa.Table, columns: Sequence[str]) -> Iterator[Group]:
        """The columns of the rows that an index names (source, shard, row_group, row), row group by row group."""
        wanted: dict[tuple[str, str], dict[int, list[int]]] = {}
        places = zip(*(index[name].to_pylist() for name in ("source", "shard", "row_group", "row")), strict=True)
        for source, shard, number, row in places:
            wanted.setdefault((source, shard), {}).setdefault(number, []).append(row)
        for (source, shard), rows_of in wanted.items():
            for group in _read_groups(self.folder / source / shard, columns, sorted(rows_of)):
                yield group._replace(rows=group.rows.take(pa.array(sorted(rows_of[group.number]))))

    def take(self, index: pa.Table, *, with_pictures: bool = True) -> Sequence[Sample]:
        """The samples that an index names (source, shard, row_group, row), read when they are asked for.

        Each `Image` has the stored bytes as `data`, or none of them without pictures.
        """
        return _Samples(self.folder, index, with_pictures)


def _open(path: Path) -> pq.ParquetFile:
    with damage_as_stale(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
    if not file.schema_arrow.equals(SAMPLE_SCHEMA):
        raise StaleError(f"{path}: has other columns than this version writes; {remake(path)}")
    return file


def _read_group(file: pq.ParquetFile, path: Path, number: int, columns: Sequence[str]) -> pa.RecordBatch:
    with damage_as_stale(path, f"row group {number} "):
        table = file.read_row_group(number, columns=list(columns), use_threads=False)
    (batch,) = table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
    return batch


def _read_groups(path: Path, columns: Sequence[str], numbers: Sequence[int] | None = None) -> Iterator[Group]:
    with _open(path) as file:
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        firsts = [0, *accumulate(sizes)]
        for number in range(len(sizes)) if numbers is None else numbers:
            yield Group(path.parent.name, path.name, number, firsts[number], _read_group(file, path, number, columns))


def count_rejected(folder: Path) -> int:
    """Rows of `rejected.parquet`."""
    return int(pq.read_metadata(folder / REJECTED).num_rows)


class _Samples(Sequence[Sample]):
    """Random access to rows. Cheap to pickle and safe to fork: a process opens files and keeps row groups itself."""

    NUM_GROUPS = 32  # row groups in memory, about 2 MB each

    def __init__(self, root: Path, index: pa.Table, with_pictures: bool) -> None:
        self._root = root
        files = pc.binary_join_element_wise(index["source"], index["shard"], "/").combine_chunks().dictionary_encode()
        self._names: list[str] = files.dictionary.to_pylist()
        self._name_of = files.indices.to_numpy()  # (rows,)
        self._group_of = index["row_group"].combine_chunks().to_numpy()
        self._row_of = index["row"].combine_chunks().to_numpy()
        whole = [name for name in SAMPLE_SCHEMA.names if name not in ("role", "images", "pictures")]
        self._columns = [*whole, "pictures.list.element.image_id"]
        if with_pictures:
            self._columns.append("images.list.element.bytes")
        self._forget()

    def __len__(self) -> int:
        return len(self._row_of)

    @overload
    def __getitem__(self, place: int) -> Sample: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Sample]: ...

    def __getitem__(self, place: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if self._process_id != os.getpid():  # Arrow promises nothing of a reader after a fork
            self._forget()
        group = self._load(int(self._name_of[place]), int(self._group_of[place]))
        return records.to_sample(group.slice(int(self._row_of[place]), 1).to_pylist()[0])

    def _load(self, name: int, group: int) -> pa.RecordBatch:
        key = (name, group)
        if key not in self._groups:
            path = self._root / self._names[name]
            if name not in self._files:
                self._files[name] = _open(path)
            while len(self._groups) >= self.NUM_GROUPS:
                self._groups.popitem(last=False)
            self._groups[key] = _read_group(self._files[name], path, group, self._columns)
        self._groups.move_to_end(key)
        return self._groups[key]

    def _forget(self) -> None:
        self._process_id = os.getpid()
        self._files: dict[int, pq.ParquetFile] = {}
        self._groups: OrderedDict[tuple[int, int], pa.RecordBatch] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process_id": -1, "_files": {}, "_groups": OrderedDict()}
