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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openmedq.io.folders import find_all
from openmedq.schema import (
    REJECTED_SCHEMA,
    SAMPLE_SCHEMA,
    Groups,
    Image,
    Provenance,
    Rejected,
    Role,
    Sample,
    Task,
    Turn,
)

if TYPE_CHECKING:
    from openmedq.io.images import Picture
    from openmedq.params import Normalize

REJECTED = "rejected.parquet"

Record = dict[str, Any]  # one row of SAMPLE_SCHEMA in plain Python


@dataclass(frozen=True, slots=True)
class Row:
    """A sample as it is stored: `pictures[i]` is `sample.images[i]`, encoded."""

    sample: Sample
    role: Role  # the card's role of the sample's split
    pictures: tuple[Picture, ...]


# Writing --------------------------------------------------------------------------------------------------------------


def write(rows: Iterable[Row], folder: Path, settings: Normalize) -> int:
    """Write the rows into `folder/shard-00000.parquet` and so on; how many there were. Memory holds one row group."""
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
        record: Record = {name: _clean(str(getattr(rejected, name))) for name in names}
        record["provenance"] = _provenance(rejected.provenance)
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
        group.append(_record(row))
        size_bytes += sum(len(picture.data) for picture in row.pictures)
        size_bytes += sum(len(turn.question) + len(turn.answer) + len(turn.context) for turn in row.sample.turns)
        if size_bytes >= settings.row_group_size_bytes or len(group) == settings.row_group_rows:
            yield group
            group, size_bytes = [], 0
    if group:
        yield group


def _record(row: Row) -> Record:
    sample = row.sample
    return {
        "id": sample.id,
        "source": sample.source,
        "split": sample.split,
        "role": str(row.role),
        "task": str(sample.task),
        "modality": sample.modality,
        "licence": sample.licence,
        "provenance": _provenance(sample.provenance),
        "turns": [
            {
                "question": turn.question,
                "answer": turn.answer,
                "context": turn.context,
                "options": list(turn.options),
                "alternatives": list(turn.alternatives),
            }
            for turn in sample.turns
        ],
        "images": [{"bytes": picture.data, "path": None} for picture in row.pictures],
        "pictures": [
            {
                "image_id": image.image_id,
                "sha256": picture.sha256,
                "pixels_sha256": picture.pixels_sha256,
                "phash": picture.phash,
                "thumbnail": picture.thumbnail,
                "width": picture.width,
                "height": picture.height,
            }
            for image, picture in zip(sample.images, row.pictures, strict=True)
        ],
        "groups": {name: getattr(sample.groups, name) for name in ("patient", "study", "article", "case", "question")},
        "labels": list(sample.labels),
        "attributes": [{"name": name, "value": sample.attributes[name]} for name in sorted(sample.attributes)],
    }


def _provenance(provenance: Provenance) -> dict[str, str]:
    return {"file": _clean(provenance.file), "record": _clean(provenance.record)}


def _clean(text: str) -> str:
    """Half a surrogate pair is not text; it is written as it would be in Python's source."""
    return text.encode("utf-8", "backslashreplace").decode()


# Reading --------------------------------------------------------------------------------------------------------------


def find_shards(folder: Path) -> list[Path]:
    """The shards of a set, in the order of their rows."""
    return find_all(folder, "shard-*.parquet")


def read(folder: Path, columns: Sequence[str]) -> pa.Table:
    """The columns of all shards of a folder, a nested one as `pictures.list.element.phash`; row order is kept."""
    tables = [pq.ParquetFile(shard).read(list(columns)) for shard in find_shards(folder)]
    if not tables:
        roots = dict.fromkeys(column.split(".")[0] for column in columns)
        return pa.schema([SAMPLE_SCHEMA.field(root) for root in roots]).empty_table()
    return pa.concat_tables(tables)


def count_rejected(folder: Path) -> int:
    """Rows of `rejected.parquet`."""
    return int(pq.read_metadata(folder / REJECTED).num_rows)


def read_samples(root: Path, index: pa.Table, *, with_pictures: bool = True) -> Sequence[Sample]:
    """The samples that an index names (columns source, shard, row_group, row), read when they are asked for.

    `root` holds a folder a source. Each `Image` has the stored bytes as `data`, or none of them without pictures.
    """
    return _Samples(root, index, with_pictures)


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
        return _sample(group.slice(int(self._row_of[place]), 1).to_pylist()[0])

    def _load(self, name: int, group: int) -> pa.Table:
        key = (name, group)
        if key not in self._groups:
            if name not in self._files:
                self._files[name] = pq.ParquetFile(self._root / self._names[name])
            while len(self._groups) >= self.NUM_GROUPS:
                self._groups.popitem(last=False)
            self._groups[key] = self._files[name].read_row_group(group, columns=self._columns, use_threads=False)
        self._groups.move_to_end(key)
        return self._groups[key]

    def _forget(self) -> None:
        self._process_id = os.getpid()
        self._files: dict[int, pq.ParquetFile] = {}
        self._groups: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process_id": -1, "_files": {}, "_groups": OrderedDict()}


def _sample(record: Record) -> Sample:
    data = [image["bytes"] for image in record.get("images") or ()] or [None] * len(record["pictures"])
    return Sample(
        id=record["id"],
        source=record["source"],
        split=record["split"],
        task=Task(record["task"]),
        modality=record["modality"],
        licence=record["licence"],
        provenance=Provenance(**record["provenance"]),
        turns=tuple(
            Turn(turn["question"], turn["answer"], turn["context"], tuple(turn["options"]), tuple(turn["alternatives"]))
            for turn in record["turns"]
        ),
        images=tuple(
            Image(picture["image_id"], data=each) for picture, each in zip(record["pictures"], data, strict=True)
        ),
        groups=Groups(**record["groups"]),
        labels=tuple(record["labels"]),
        attributes={attribute["name"]: attribute["value"] for attribute in record["attributes"]},
    )
