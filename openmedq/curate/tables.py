"""The tables that `validate` checks: for each dataset, the number of rows that do not meet each expectation.

DuckDB counts over batches of rows that `ShardStore` reads, because DuckDB's own reader verifies no checksums. It keeps
only the id, the position and a hash of the content of each row; they spill to disk if they exceed MEMORY.
"""

import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pyarrow.compute as pc

from openmedq.config import Validate
from openmedq.curate import conditions
from openmedq.curate.promises import PROMISES, Promises
from openmedq.datasets.card import Card
from openmedq.schema import EXCLUDED_BY_REQUEST, INDEX_SCHEMA, Role
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import INDEX, scan_table

CHUNK_ROWS = 2**15  # rows in memory with their texts
NUM_EXAMPLES = 3  # ids of failing rows
MEMORY = "700MB"  # of DuckDB; with the chunk of rows and the libraries, the stage stays below 2 GB

_COLUMNS = [
    *("id", "source", "split", "task", "licence", "turns", "labels"),
    *(f"images.list.element.{name}" for name in ("pixels_sha256", "width", "height")),
]

_HEADERS = [f"images.list.element.{name}" for name in ("image.bytes", "width", "height")]
_HEADER = pa.struct({"mode": pa.string(), "is_size": pa.bool_()})

_KEPT = """
    CREATE TABLE rows (
        dataset VARCHAR, id VARCHAR, file INTEGER, row_group INTEGER, row INTEGER, content UBIGINT,
        facts UBIGINT, is_evaluation BOOLEAN, num_yes INTEGER, num_no INTEGER, is_foreign BOOLEAN, fails BOOLEAN[]);
    CREATE TABLE entries (
        id VARCHAR, dataset VARCHAR, file INTEGER, row_group INTEGER, row INTEGER, role VARCHAR, weight FLOAT,
        stated UBIGINT);
"""
_KEEP_ROWS = """
    INSERT INTO rows
    SELECT dataset, id, file, row_group, row, content, facts, is_evaluation, num_yes, num_no, is_foreign, [{conditions}]
    FROM ({rows})
"""
_KEEP_ENTRIES = f"""
    INSERT INTO entries
    SELECT id, source, {conditions.FILE}, row_group, row, role, weight,
        hash(split, task, licence, access, num_images::BIGINT)
    FROM index
"""

_DATASETS = """
    SELECT
        id, found, read, num_rejected, read + num_rejected AS num_read_or_rejected, num_accounted,
        CASE WHEN found > num_by_request THEN (num_rejected - num_by_request) / (found - num_by_request) END
            AS rejected_share,
        coalesce(num_rows, 0) AS num_rows,
        (SELECT count(*) FROM entries WHERE dataset = counts.id AND role = 'train') AS num_train,
        mix, (SELECT count(*) FROM entries WHERE dataset = counts.id) AS num_entries,
        num_published, found / nullif(num_published, 0) AS found_multiple,
        CASE WHEN num_yes + num_no > 0 THEN num_yes / (num_yes + num_no) END AS yes_share, yes_low, yes_high,
        num_foreign / nullif(num_rows, 0) AS foreign_share, max_foreign
    FROM counts LEFT JOIN (
        SELECT dataset AS id, count(*) AS num_rows, sum(num_yes) AS num_yes, sum(num_no) AS num_no,
            count(*) FILTER (WHERE is_foreign) AS num_foreign
        FROM rows GROUP BY dataset) USING (id)
    ORDER BY id
"""

_NUMBERS = ("found", "read", "num_rejected", "num_by_request", "num_accounted", "num_published", "mix")
_COUNTS = pa.schema(
    {"id": pa.string()}
    | dict.fromkeys(_NUMBERS, pa.int64())
    | dict.fromkeys(("yes_low", "yes_high", "max_foreign"), pa.float64())
)
_NOTHING: Mapping[str, Any] = {"found": 0, "read": 0, "rejected": {}, "duplicate": {}, "kept_out": {}, "mix": {}}
_WORDS = pa.list_(pa.string())
_CARDS = pa.schema(
    {"dataset": pa.string(), "splits": _WORDS, "licence": pa.string(), "classes": _WORDS, "answers": _WORDS}
    | {"access": pa.string(), "evaluations": _WORDS}
    | {"modes": _WORDS, "low_px": pa.int64(), "high_px": pa.int64()}
)


@dataclass(frozen=True)
class Table:
    """A table to check: a row for each dataset, and the ids of some rows that fail."""

    frame: pd.DataFrame  # id (of the dataset), num_rows, and for each statement the number of rows that fail
    examples: Mapping[tuple[str, str], list[str]]  # by dataset and statement: the first ids in alphabetical order


def make_tables(
    cards: Mapping[str, Card],
    stores: Mapping[str, ShardStore],
    complete: Collection[str],
    verdicts: pa.Table,
    waterfall: Mapping[str, Mapping[str, Any]],
    settings: Validate,
    spill: Path,
) -> dict[str, Table]:
    """Make the tables `rows`, `promises`, `mix` and `datasets`, each with a row per dataset.

    `cards`, `stores` and `waterfall` are by dataset; `complete` are the datasets that must have all published records.
    DuckDB writes to the folder `spill` what does not fit into MEMORY.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,  # no download
        "autoload_known_extensions": False,
        "temp_directory": str(spill),
        "memory_limit": MEMORY,
        "preserve_insertion_order": False,
    }
    of_rows, of_promises = conditions.of_rows(settings), conditions.of_promises()
    fails = [f"coalesce({sql}, false)" for sql in (of_rows | of_promises).values()]
    kept = {statement: f"fails[{place}]" for place, statement in enumerate(of_rows | of_promises, 1)}
    with duckdb.connect(config=config) as database:
        database.execute(_KEPT)
        database.register("verdicts", verdicts)
        database.register("cards", pa.Table.from_pylist(list(starmap(_describe, cards.items())), _CARDS))
        for chunk in _read(stores):
            database.register("samples", chunk)
            database.execute(_KEEP_ROWS.format(conditions=", ".join(fails), rows=conditions.ROWS))
        for batch in scan_table(INDEX, INDEX_SCHEMA, [each for each in INDEX_SCHEMA.names if each != "num_chars"]):
            database.register("index", batch)
            database.execute(_KEEP_ENTRIES)
        counts = [
            _sum_up(name, waterfall.get(name, _NOTHING), cards[name].num_published if name in complete else None)
            for name in dict.fromkeys([*waterfall, *cards])
        ]
        database.register("counts", pa.Table.from_pylist(counts, _COUNTS))
        rows = "SELECT * FROM rows"
        return {
            "rows": _tally(database, rows, {name: kept[name] for name in of_rows} | conditions.UNIQUE_IDS, cards),
            "promises": _tally(database, rows, {name: kept[name] for name in of_promises}, cards),
            "mix": _tally(database, conditions.MIX, conditions.of_mix(list(cards)), cards),
            "datasets": Table(database.sql(_DATASETS).df(), _tally(database, rows, conditions.SHARES, cards).examples),
        }


def _read(stores: Mapping[str, ShardStore]) -> Iterator[pa.Table]:
    """The rows of all shards in chunks of about CHUNK_ROWS, with the columns that `conditions.ROWS` refers to."""
    waiting: list[pa.RecordBatch] = []
    for dataset, store in stores.items():
        has_modes = PROMISES.get(dataset, Promises()).modes is not None
        sample = store.scan(_HEADERS, is_sample=True) if has_modes else iter(())
        headers = {(each.shard, each.number): _read_headers(each.rows) for each in sample}
        for group in store.scan(_COLUMNS):
            size = len(group.rows)
            more = {
                "dataset": pa.array([dataset] * size, pa.string()),
                "shard": pa.array([group.shard] * size, pa.string()),
                "row_group": pa.array(np.full(size, group.number, np.int32)),
                "row": pa.array(np.arange(size, dtype=np.int32)),
                "texts": _normalize(group.rows["turns"]),
                "header": headers.get((group.shard, group.number), pa.nulls(size, _HEADER)),
            }
            rows = group.rows
            for name, column in more.items():
                rows = rows.append_column(name, column)
            waiting.append(rows)
            if sum(map(len, waiting)) >= CHUNK_ROWS:
                yield pa.Table.from_batches(waiting)
                waiting.clear()
    if waiting:
        yield pa.Table.from_batches(waiting)


def _normalize(turns: pa.ListArray) -> pa.ListArray:
    """The texts of each turn, in lower case and with single spaces.

    Independent of `fingerprints`, so that a mistake there is noticed, and with fewer foldings: rows that are equal here
    must be equal there.
    """
    flat = turns.flatten()
    parts = [flat.field(name) for name in ("question", "context", "answer")]
    texts = pc.binary_join_element_wise(*parts, pc.binary_join(flat.field("options"), "\x1f"), "\x1e")
    texts = pc.binary_join(pc.ascii_split_whitespace(pc.ascii_lower(texts)), " ")
    ends = np.cumsum(pc.list_value_length(turns).to_numpy(zero_copy_only=False))
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], ends]).astype(np.int32)), texts)


def _read_headers(rows: pa.RecordBatch) -> pa.Array:
    """Of the first image of each row: its mode, and whether it has the size that the row states."""
    headers: list[dict[str, object] | None] = []
    for images in rows["images"].to_pylist():
        for image in images[:1]:
            try:
                found = PIL.Image.open(io.BytesIO(image["image"]["bytes"] or b""))
                headers.append({"mode": found.mode, "is_size": found.size == (image["width"], image["height"])})
            except OSError:
                headers.append({"mode": "unreadable", "is_size": None})
        if not images:
            headers.append(None)
    return pa.array(headers, _HEADER)


def _describe(name: str, card: Card) -> dict[str, Any]:
    """One row of the table `cards`: what the card and the promises of a dataset state about each row."""
    promises = PROMISES.get(name, Promises())
    low_px, high_px = promises.sides_px or (None, None)
    return {
        "dataset": name,
        "splits": list(card.roles),
        "licence": None if card.has_row_licences else card.licence,
        "classes": card.classes,
        "answers": promises.answers,
        "access": card.access,
        "evaluations": [split for split, role in card.roles.items() if role is Role.EVALUATION],
        "modes": promises.modes,
        "low_px": low_px,
        "high_px": high_px,
    }


def _sum_up(name: str, counts: Mapping[str, Any], num_published: int | None) -> dict[str, Any]:
    """One row of the table `counts`, from a dataset's waterfall."""
    promises = PROMISES.get(name, Promises())
    yes_low, yes_high = promises.yes_share or (None, None)
    return {
        "id": name,
        "found": counts["found"],
        "read": counts["read"],
        "num_rejected": sum(counts["rejected"].values()),
        "num_by_request": sum(counts["rejected"].get(reason, 0) for reason in EXCLUDED_BY_REQUEST),
        "num_accounted": sum(sum(counts[part].values()) for part in ("duplicate", "kept_out", "mix")),
        "num_published": num_published,
        "mix": sum(counts["mix"].values()),
        "yes_low": yes_low,
        "yes_high": yes_high,
        "max_foreign": promises.max_foreign,
    }


def _tally(
    database: duckdb.DuckDBPyConnection, relation: str, conditions: Mapping[str, str], datasets: Iterable[str]
) -> Table:
    """Count the rows of a relation, given as SQL with the columns `dataset` and `id`, that meet conditions.

    `conditions` maps statements to SQL that is true for a row that fails; a condition that is null does not apply. The
    table has a row for each of `datasets`, and for others that are found.
    """
    flags = [f"coalesce({sql}, false) AS fails_{place}" for place, sql in enumerate(conditions.values())]
    counts = [f"count(*) FILTER (WHERE fails_{place})" for place in range(len(flags))]
    ids = [f"coalesce(min(id, {NUM_EXAMPLES}) FILTER (WHERE fails_{place}), [])" for place in range(len(flags))]
    query = (
        f"SELECT dataset, [{', '.join(['count(*)', *counts])}], [{', '.join(ids)}] "
        f"FROM (SELECT dataset, id, {', '.join(flags)} FROM ({relation})) GROUP BY dataset"
    )
    found = {str(dataset): (numbers, names) for dataset, numbers, names in database.execute(query).fetchall()}
    order = dict.fromkeys([*datasets, *sorted(found)])
    rows = [[name, *(found[name][0] if name in found else [0] * (1 + len(flags)))] for name in order]
    examples = {
        (name, statement): each
        for name, (_, own) in found.items()
        for statement, each in zip(conditions, own, strict=True)
        if each
    }
    return Table(pd.DataFrame(rows, columns=["id", "num_rows", *conditions]), examples)
