"""Samples in Parquet shards: written as a stream, read by column, or row by row in any order.

Row groups are small, so that reading one row costs little. An image that neighboring rows share is stored once per row
group, in Parquet's dictionary.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openmedq.errors import StaleError
from openmedq.schema import INDEX_SCHEMA, REJECTED_SCHEMA, SAMPLE_SCHEMA, Rejected, Sample
from openmedq.storage.folders import find_all
from openmedq.storage.records import Record, to_record, to_sample
from openmedq.storage.tables import INDEX, damage_as_stale, open_parquet, open_writer

if TYPE_CHECKING:
    from openmedq.config import Normalize

REJECTED = "rejected.parquet"
REJECTED_GROUP_ROWS = 10_000


class Group(NamedTuple):
    """Some columns of a row group."""

    source: str
    shard: str  # file name
    number: int
    rows: pa.RecordBatch


class ShardStore:
    """Reads and writes the shards in a folder: of one dataset, or, for an index, of all datasets, a folder each.

    Two row groups are in memory at a time: one is read while the other is worked on. Reading verifies the checksum of
    each page; damage is a StaleError with the shard, the row group and the command that writes the shard again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, samples: Iterable[Sample], settings: Normalize) -> int:
        """Write samples, whose images are encoded, as shards; return their number."""
        num_rows = num_shards = 0
        groups = _group(samples, settings)
        group = next(groups, None)
        while group is not None:
            path = self.folder / f"shard-{num_shards:05}.parquet"
            with (
                path.open("wb") as file,
                open_writer(file, SAMPLE_SCHEMA, settings.row_group_size_bytes) as writer,
                ThreadPoolExecutor(1) as thread,
            ):
                while group is not None and file.tell() < settings.shard_size_bytes:
                    # Arrow encodes and writes without Python's lock, while the next rows are read.
                    writing = thread.submit(writer.write_table, pa.Table.from_pylist(group, SAMPLE_SCHEMA))
                    num_rows += len(group)
                    group = next(groups, None)
                    writing.result()
            num_shards += 1
        return num_rows

    def scan(self, columns: Sequence[str], *, is_sample: bool = False) -> Iterator[Group]:
        """Columns of all rows of the dataset, in order; a nested column is `images.list.element.phash`.

        With `is_sample`, only the first row group of each shard.
        """
        for path in find_shards(self.folder):
            yield from _read_groups(path, columns, [0] if is_sample else None)

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Columns of all rows as one table, which must fit into memory."""
        batches = [group.rows for group in self.scan(columns)]
        if not batches:
            roots = dict.fromkeys(column.split(".")[0] for column in columns)
            return pa.schema([SAMPLE_SCHEMA.field(root) for root in roots]).empty_table()
        return pa.Table.from_batches(batches)

    def locate(self, ids: Collection[str] | None = None) -> pa.Table:
        """The places (source, shard, row_group, row) of the dataset's rows, of all or of those with some ids."""
        names = ("source", "shard", "row_group", "row")
        places = []
        for group in self.scan(["id"]):
            found = group.rows["id"].to_pylist()
            wanted = (row for row, row_id in enumerate(found) if ids is None or row_id in ids)
            places += [dict(zip(names, (*group[:3], row), strict=True)) for row in wanted]
        return pa.Table.from_pylist(places, pa.schema([INDEX_SCHEMA.field(name) for name in names]))

    def scan_index(self, index: pa.Table, columns: Sequence[str]) -> Iterator[Group]:
        """Columns of the rows of an index (source, shard, row_group, row), row group by row group."""
        wanted: dict[tuple[str, str], dict[int, list[int]]] = {}
        places = zip(*(index[name].to_pylist() for name in ("source", "shard", "row_group", "row")), strict=True)
        for source, shard, number, row in places:
            wanted.setdefault((source, shard), {}).setdefault(number, []).append(row)
        for group in self.scan_groups(wanted, columns):
            rows = sorted(wanted[group.source, group.shard][group.number])
            _check_row(rows[-1], group.rows, self.folder / group.source / group.shard, group.number)
            yield group._replace(rows=group.rows.take(pa.array(rows)))

    def scan_groups(self, wanted: Mapping[tuple[str, str], Collection[int]], columns: Sequence[str]) -> Iterator[Group]:
        """Columns of whole row groups of an index, given their numbers by source and shard."""
        for (source, shard), numbers in wanted.items():
            yield from _read_groups(self.folder / source / shard, columns, sorted(numbers))

    def take(
        self, index: pa.Table, *, with_images: bool = True, num_groups: int = 32, shared: Path | None = None
    ) -> Sequence[Sample]:
        """The samples of an index (source, shard, row_group, row), each read on access.

        `data` of an image is the stored bytes, or None without `with_images`. The last `num_groups` row groups stay in
        memory, about 2 MB each. With `shared`, the positions are written to that file, which other processes map into
        their memory: a copy for them is small, however many rows there are.
        """
        return _Samples(self.folder, index, with_images, num_groups, shared)


def find_shards(folder: Path) -> list[Path]:
    """The shards of a dataset, in the order of their rows."""
    return find_all(folder, "shard-*.parquet")


@contextmanager
def write_rejected(folder: Path) -> Iterator[Callable[[Rejected], None]]:
    """Open `rejected.parquet` for writing; yields a function that adds a record."""
    waiting: list[Record] = []
    with (folder / REJECTED).open("wb") as file, open_writer(file, REJECTED_SCHEMA) as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(waiting, REJECTED_SCHEMA))
            waiting.clear()

        def add(rejected: Rejected) -> None:
            waiting.append(_escape(to_record(rejected)))
            if len(waiting) == REJECTED_GROUP_ROWS:
                flush()

        yield add
        if waiting:
            flush()


def count_rejected(folder: Path) -> int:
    """Number of rows of `rejected.parquet`."""
    return int(pq.read_metadata(folder / REJECTED).num_rows)


def _escape(value: Any) -> Any:
    """Escape lone surrogates, which UTF-8 cannot hold, in all strings."""
    if isinstance(value, dict):
        return {name: _escape(each) for name, each in value.items()}
    return value.encode("utf-8", "backslashreplace").decode()


def _group(samples: Iterable[Sample], settings: Normalize) -> Iterator[list[Record]]:
    """Rows in groups, each closed at `row_group_size_bytes` of images and texts, or at `row_group_rows`."""
    group: list[Record] = []
    size_bytes = 0
    for sample in samples:
        group.append(to_record(sample))
        size_bytes += sum(len(image.data or b"") for image in sample.images)
        size_bytes += sum(len(turn.question) + len(turn.answer) + len(turn.context) for turn in sample.turns)
        if size_bytes >= settings.row_group_size_bytes or len(group) == settings.row_group_rows:
            yield group
            group, size_bytes = [], 0
    if group:
        yield group


def _read_group(file: pq.ParquetFile, path: Path, number: int, columns: Sequence[str]) -> pa.RecordBatch:
    with damage_as_stale(path, f"row group {number} "):
        table = file.read_row_group(number, columns=list(columns), use_threads=False)
    (batch,) = table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
    return batch


def _check_row(row: int, rows: pa.RecordBatch, path: Path, number: int) -> None:
    """StaleError if the row group has no such row; an IndexError would end a loop over the samples without notice."""
    if row >= rows.num_rows:
        raise StaleError(f"{path}: row group {number} has no row {row}, which {INDEX} names; run `dvc repro`")


def _read_groups(path: Path, columns: Sequence[str], numbers: Sequence[int] | None = None) -> Iterator[Group]:
    with open_parquet(path, SAMPLE_SCHEMA) as file, ThreadPoolExecutor(1) as thread:
        wanted = range(file.num_row_groups) if numbers is None else numbers
        reads = ((number, thread.submit(_read_group, file, path, number, columns)) for number in wanted)
        for (number, read), _ in pairwise(chain(reads, [(0, Future())])):  # the next one is being read
            yield Group(path.parent.name, path.name, number, read.result())


class _Samples(Sequence[Sample]):
    """Random access to rows. Each process opens its own files, so that it can be pickled and forked."""

    def __init__(self, root: Path, index: pa.Table, with_images: bool, num_groups: int, shared: Path | None) -> None:
        self._root, self._num_groups, self._shared = root, num_groups, shared
        files = pc.binary_join_element_wise(index["source"], index["shard"], "/").combine_chunks().dictionary_encode()
        self._names: list[str] = files.dictionary.to_pylist()
        # (rows, 3): file, row group, row
        self._places = np.stack([np.asarray(each) for each in (files.indices, index["row_group"], index["row"])], 1)
        if shared is not None:
            np.save(shared, self._places)
            self._places = np.load(shared, mmap_mode="r")
        self._columns = [name for name in SAMPLE_SCHEMA.names if name != "images"]
        self._columns.append("images.list.element.image_id")
        if with_images:
            self._columns.append("images.list.element.image.bytes")
        self._forget()

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Sample: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Sample]: ...

    def __getitem__(self, place: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if self._process_id != os.getpid():  # Arrow's readers are not safe to use after a fork
            self._forget()
        name, group, row = self._places[place].tolist()
        rows = self._load(name, group)
        _check_row(row, rows, self._root / self._names[name], group)
        return to_sample(rows.slice(row, 1).to_pylist()[0])

    def _load(self, name: int, group: int) -> pa.RecordBatch:
        key = (name, group)
        if key not in self._groups:
            path = self._root / self._names[name]
            if name not in self._files:
                self._files[name] = open_parquet(path, SAMPLE_SCHEMA)
            while len(self._groups) >= self._num_groups:
                self._groups.popitem(last=False)
            self._groups[key] = _read_group(self._files[name], path, group, self._columns)
        self._groups.move_to_end(key)
        return self._groups[key]

    def _forget(self) -> None:
        self._process_id = os.getpid()
        self._files: dict[int, pq.ParquetFile] = {}
        self._groups: OrderedDict[tuple[int, int], pa.RecordBatch] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_process_id": -1, "_files": {}, "_groups": OrderedDict()}
        return state if self._shared is None else {**state, "_places": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._shared is not None:
            self._places = np.load(self._shared, mmap_mode="r")
