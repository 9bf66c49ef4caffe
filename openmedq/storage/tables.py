"""The small files that stages leave for each other: index, duplicate decisions, counts. A damaged one is one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from openmedq import paths
from openmedq.errors import StaleError
from openmedq.schema import INDEX_SCHEMA, VERDICT_SCHEMA

INDEX = paths.MIX / "index.parquet"
VERDICT_TABLE = paths.VERDICTS / "verdicts.parquet"
COUNTS = "counts.json"

MAX_REASON_CHARS = 160

_MAKERS = {
    paths.VERDICTS: "deduplicate",
    paths.MIX: "mix",
    paths.VALIDATION: "validate",
    paths.TRAINING: "train",
    paths.EVALUATION: "evaluate",
    paths.TRANSFER: "transfer",
}


class _Counts(BaseModel):
    state: str
    origin: str | None
    found: int
    read: int
    rejected: dict[str, int]
    splits: dict[str, int]
    num_images: int


def read_index() -> pa.Table:
    """data/mix/index.parquet, of INDEX_SCHEMA."""
    return read_table(INDEX, INDEX_SCHEMA)


def read_verdicts() -> pa.Table:
    """data/verdicts/verdicts.parquet, of VERDICT_SCHEMA."""
    return read_table(VERDICT_TABLE, VERDICT_SCHEMA)


def read_table(path: Path, schema: pa.Schema | None = None) -> pa.Table:
    """A whole table that a stage wrote; StaleError where it is missing, damaged, or has other columns than `schema`."""
    with damage_as_stale(path):
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
    if schema is not None and not table.schema.equals(schema):
        raise StaleError(f"{path}: has other columns than this version writes; {remake(path)}")
    return table


def read_counts(folder: Path) -> dict[str, Any]:
    """counts.json of a dataset that was normalized into the folder; StaleError where it is missing or damaged."""
    path = folder / COUNTS
    counts = read_json(path)
    try:
        _Counts.model_validate(counts, strict=True)
    except ValidationError:
        raise StaleError(f"{path}: is not what `normalize` writes; {remake(path)}") from None
    return counts


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that a stage wrote; StaleError where it is missing or damaged."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StaleError(f"{path}: not there; `dvc repro {_maker(path)}` writes it") from None
    except (ValueError, RecursionError):
        raise StaleError(f"{path}: is damaged (not JSON); {remake(path)}") from None
    if not isinstance(tree, dict):
        raise StaleError(f"{path}: is damaged (not a JSON object); {remake(path)}")
    return tree


@contextmanager
def damage_as_stale(path: Path, part: str = "") -> Iterator[None]:
    """What Arrow raises for a missing or damaged Parquet file (`part`: which of it) as one line, with what to do."""
    try:
        yield
    except FileNotFoundError:
        raise StaleError(f"{path}: not there; `dvc repro {_maker(path)}` writes it") from None
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:  # of the file system: may not be read, say
            raise
        reason = " ".join(str(error).split())[:MAX_REASON_CHARS]
        raise StaleError(f"{path}: {part}is damaged ({reason}); {remake(path)}") from None


def remake(path: Path) -> str:
    """The command that writes an output of a stage again."""
    return f"`dvc repro --force --single-item {_maker(path)}` writes it again"


def _maker(path: Path) -> str:
    return _MAKERS.get(path.parent, f"normalize@{path.parent.name}")
