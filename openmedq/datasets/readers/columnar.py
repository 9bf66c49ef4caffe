"""Stream Parquet and Arrow tables as Hugging Face publishes them, with bounded memory."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openmedq.datasets.fields import Unusable
from openmedq.errors import SourceError
from openmedq.schema import Reason
from openmedq.storage import unexpected

NUM_ROWS = 64  # rows in memory; 64 MB for images of 1 MB

_END = b"\xff\xff\xff\xff\0\0\0\0"  # optional end mark of an Arrow stream, which `datasets` writes

Record = dict[str, Any]

_log = logging.getLogger(__name__)


def read_columns(path: Path) -> list[str]:
    """Return the names of a Parquet file's columns; SourceError if it is not a whole one."""
    unexpected.refuse(path)
    try:
        names: list[str] = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, "Parquet", error) from None
    return names


def stream_parquet(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, Record | Unusable]]:
    """Yield the rows of a Parquet file with their numbers from 1; SourceError if a column is missing or it is cut."""
    unexpected.refuse(path)
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow, needed)
            yield from _stream(file.iter_batches(batch_size=NUM_ROWS))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, "Parquet", error) from None


def stream_arrow(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, Record | Unusable]]:
    """Yield the rows of an Arrow file of `datasets` (an IPC stream) like `stream_parquet`."""
    unexpected.refuse(path)
    try:
        with pa.memory_map(str(path)) as mapped:
            stream = pa.ipc.open_stream(mapped)
            _check_columns(path, stream.schema, needed)
            yield from _stream(map(_validate, stream))
            mapped.seek(max(0, mapped.size() - len(_END)))
            if mapped.read() != _END:
                _log.warning("%s: no end-of-stream marker, so rows may be missing; get the file again", path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, "Arrow", error) from None


def _validate(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Check all offsets in a batch, because Arrow does not, and a damaged offset would crash the process.

    Texts are checked as bytes, so that one that is not UTF-8 rejects only its own row.
    """
    for column in batch.columns:
        column.view(_without_texts(column.type)).validate(full=True)
    return batch


def _without_texts(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_texts(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_without_texts(kind.value_type)))
    return kind


def _stream(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, Record | Unusable]]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, NUM_ROWS):
            part = batch.slice(start, NUM_ROWS)
            try:
                records: list[Record | Unusable] = part.to_pylist()
            except UnicodeDecodeError:  # retry row by row, to reject only the row at fault
                records = [_take(part, row) for row in range(part.num_rows)]
            for record in records:
                number += 1
                yield str(number), record


def _take(part: pa.RecordBatch, row: int) -> Record | Unusable:
    try:
        record: Record = part.slice(row, 1).to_pylist()[0]
    except UnicodeDecodeError:
        return Unusable(Reason.NOT_UTF8, "a text of the row is not UTF-8")
    return record


def _check_columns(path: Path, schema: pa.Schema, needed: Sequence[str]) -> None:
    lacking = [name for name in needed if name not in schema.names]
    if lacking:
        found = ", ".join(schema.names)[:200] or "nothing"
        raise SourceError(
            f"{path}: no column `{lacking[0]}`; expected {', '.join(needed)}; found {found}; get the file again"
        )


def _damaged(path: Path, kind: str, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno is not None:  # absent or unreadable
        return error
    return SourceError(f"{path}: not a whole {kind} file ({' '.join(str(error).split())[:150]}); copy it again")
