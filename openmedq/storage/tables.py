"""Parquet and JSON files that stages write for each other. Pages have checksums; a damaged file is a one-line error."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from openmedq import paths
from openmedq.errors import StaleError, shorten
from openmedq.schema import CLEAN_SCHEMA, INDEX_SCHEMA, VERDICT_SCHEMA

INDEX = paths.MIX / "index.parquet"
VERDICT_TABLE = paths.VERDICTS / "verdicts.parquet"
CLEAN_TABLE = paths.VERDICTS / "clean.parquet"
COUNTS = "counts.json"

_STAGES = {  # that write a folder
    paths.VERDICTS: "deduplicate",
    paths.MIX: "mix",
    paths.VALIDATION: "validate",
    paths.TRAINING: "train",
    paths.EVALUATION: "evaluate",
}


class _Counts(BaseModel):
    state: str
    origin: str | None
    found: int
    read: int
    rejected: dict[str, int]
    splits: dict[str, int]
    num_images: int


def open_writer(file: IO[bytes], schema: pa.Schema, dictionary_size_bytes: int = 2**20) -> pq.ParquetWriter:
    """Begin a Parquet file of the schema; without a table written to it, it is a valid one without rows."""
    # Content-defined chunking is off: it splits pages at every image, so that repeated ones would be stored again.
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        dictionary_pagesize_limit=dictionary_size_bytes,
        write_page_index=True,
        write_page_checksum=True,
    )


def write_table(table: pa.Table, path: Path) -> None:
    """Write a whole table as a Parquet file."""
    with path.open("wb") as file, open_writer(file, table.schema) as writer:
        writer.write_table(table)


def open_parquet(path: Path, schema: pa.Schema | None = None) -> pq.ParquetFile:
    """Open a Parquet file that a stage wrote; StaleError if it is missing, damaged, or not of `schema`."""
    with damage_as_stale(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
        found = file.schema_arrow
    if schema is not None and not found.equals(schema):
        raise StaleError(f"{path}: its columns differ from what this version writes; {remake(path)}")
    return file


def read_table(path: Path, schema: pa.Schema | None = None) -> pa.Table:
    """A whole Parquet file that a stage wrote; errors as of `open_parquet`."""
    with open_parquet(path, schema) as file:
        groups = [file.schema_arrow.empty_table()]
        for number in range(file.num_row_groups):
            with damage_as_stale(path, f"row group {number} "):
                groups.append(file.read_row_group(number))
    return pa.concat_tables(groups)


def scan_table(path: Path, schema: pa.Schema, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Columns of a Parquet file that a stage wrote, in batches; errors as of `open_parquet`."""
    with open_parquet(path, schema) as file:
        for number in range(file.num_row_groups):
            with damage_as_stale(path, f"row group {number} "):
                yield from file.iter_batches(row_groups=[number], columns=list(columns))


def read_index() -> pa.Table:
    """data/mix/index.parquet, of INDEX_SCHEMA; StaleError if it is older than the rows on disk."""
    check_index()
    return read_table(INDEX, INDEX_SCHEMA)


def check_index() -> None:
    """StaleError if a dataset on disk has another number of rows than when data/mix was written."""
    waterfall = paths.MIX / "waterfall.json"
    for dataset_id, steps in (read_json(waterfall) if waterfall.exists() else {}).items():
        folder = paths.SAMPLES / dataset_id
        if (folder / COUNTS).exists() and read_counts(folder)["read"] != steps["read"]:
            raise StaleError(f"{paths.MIX}: is older than the rows of {dataset_id}; `dvc repro mix` writes it again")


def read_verdicts() -> pa.Table:
    """data/verdicts/verdicts.parquet, the duplicate decisions, of VERDICT_SCHEMA."""
    return read_table(VERDICT_TABLE, VERDICT_SCHEMA)


def read_clean() -> pa.Table:
    """data/verdicts/clean.parquet, which kind of copy of each evaluation row is trained on, of CLEAN_SCHEMA."""
    return read_table(CLEAN_TABLE, CLEAN_SCHEMA)


def read_counts(folder: Path) -> dict[str, Any]:
    """counts.json of the normalized dataset in the folder; StaleError if it is missing or damaged."""
    path = folder / COUNTS
    counts = read_json(path)
    try:
        _Counts.model_validate(counts, strict=True)
    except ValidationError:
        raise StaleError(f"{path}: is not a counts.json of `normalize`; {remake(path)}") from None
    return counts


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that a stage wrote; StaleError if it is missing or damaged."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _as_missing(path) from None
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise StaleError(f"{path}: is damaged (not a JSON object); {remake(path)}")
    return tree


@contextmanager
def damage_as_stale(path: Path, part: str = "") -> Iterator[None]:
    """Turn Arrow's error for a missing or damaged file into one line; `part` names the damaged part of the file."""
    try:
        yield
    except FileNotFoundError:
        raise _as_missing(path) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: the name of a column
        if isinstance(error, OSError) and error.filename is not None:  # an error of the file system, such as EACCES
            raise
        raise StaleError(f"{path}: {part}is damaged ({shorten(error, 160)}); {remake(path)}") from None


def remake(path: Path) -> str:
    """The command that writes a damaged output of a stage again, as the end of an error message."""
    return f"`dvc repro --force --single-item {_stage_of(path)}` writes it again"


def _as_missing(path: Path) -> StaleError:
    return StaleError(f"{path}: not found; `dvc repro {_stage_of(path)}` writes it")


def _stage_of(path: Path) -> str:
    foreach = "transfer" if path.parent.parent == paths.TRANSFER else "normalize"
    return _STAGES.get(path.parent, f"{foreach}@{path.parent.name}")
