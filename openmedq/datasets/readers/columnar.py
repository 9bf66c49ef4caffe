"""Stream Parquet and Arrow tables as Hugging Face publishes them, with bounded memory."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openmedq.errors import SourceError, shorten
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
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, "Parquet", error) from None
    return names


def stream_parquet(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, Record]]:
    """Yield the rows of a Parquet file with their numbers from 1; SourceError if a column is missing or it is cut."""
    unexpected.refuse(path)
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow, needed)
            yield from _stream(file.iter_batches(batch_size=NUM_ROWS))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, "Parquet", error) from None


def stream_arrow(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, Record]]:
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
    """Check all offsets in a batch, because Arrow does not, and a damaged offset would crash the process."""
    batch.validate(full=True)
    return batch


def _stream(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, Record]]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, NUM_ROWS):
            for record in batch.slice(start, NUM_ROWS).to_pylist():
                number += 1
                yield str(number), record


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
    return SourceError(f"{path}: not a whole {kind} file ({shorten(error, 150)}); copy it again")
