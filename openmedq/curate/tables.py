"""The tables that `validate` holds to its expectations: columns of numbers and flags, without texts or pictures.

A column is null where what it tells does not apply to the row. What is asked of the columns is not said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from openmedq.errors import OpenMedQError
from openmedq.schema import EXCLUDED_BY_REQUEST, SAMPLE_SCHEMA
from openmedq.storage.shards import ShardStore

# The text is compared here without what `fingerprints` knows, so that one mistake is not made twice.
_CONTENT = """
    sha256(concat_ws(chr(29),
        translate(
            regexp_replace(
                array_to_string(list_transform(turns, lambda turn: concat_ws(chr(30),
                    turn.question, turn.context, array_to_string(turn.options, chr(31)), turn.answer)), chr(29)),
                '\\s+', ' ', 'g'),
            'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz'),
        array_to_string(list_sort(labels), chr(30)),
        array_to_string(list_sort(list_transform(images, lambda image: image.pixels_sha256)), chr(30))))
"""

_ROWS = f"""
    CREATE TABLE rows AS SELECT
        id, source, split, source || ' ' || split AS source_split, task, modality, licence,
        CASE WHEN task <> 'classification'
            THEN coalesce(list_min(list_transform(turns, lambda turn: length(trim(turn.answer)))), 0)
            END AS shortest_answer_chars,
        list_max(list_transform(turns, lambda turn: length(turn.answer))) AS longest_answer_chars,
        CASE WHEN task IN ('vqa', 'multiple_choice', 'text_qa')
            THEN coalesce(list_min(list_transform(turns, lambda turn: length(trim(turn.question)))), 0)
            END AS shortest_question_chars,
        CASE WHEN task IN ('vqa', 'caption', 'report', 'classification') THEN len(images) END AS num_pictures,
        list_min(list_transform(images, lambda image: least(image.width, image.height))) AS shortest_side_px,
        CASE WHEN task = 'multiple_choice'
            THEN len(list_filter(turns, lambda turn: NOT list_contains(turn.options, turn.answer)))
            END AS num_answers_not_offered,
        CASE WHEN task = 'classification' AND len(classes) > 0
            THEN len(list_filter(labels, lambda label: NOT list_contains(classes, label)))
            END AS num_unknown_labels,
        shard, place, {_CONTENT} AS content
    FROM samples LEFT JOIN cards USING (source)
"""

_COLUMNS = [
    *("id", "source", "split", "task", "modality", "licence", "turns", "labels"),
    *(f"images.list.element.{name}" for name in ("pixels_sha256", "width", "height")),
]

_MIX = """
    SELECT
        entry.id, entry.source, entry.role, entry.weight, entry.row, row_groups.num_rows AS num_rows_in_group,
        there.id AS id_there,
        count(DISTINCT entry.role) OVER (PARTITION BY entry.id) AS num_roles,
        entry.id IN (SELECT id FROM verdicts) AS has_verdict,
        coalesce(entry.role <> 'evaluation' AND there.content IN (SELECT content FROM evaluated), false)
            AS repeats_evaluation
    FROM index AS entry
    LEFT JOIN row_groups USING (source, shard, row_group)
    LEFT JOIN rows AS there
        ON there.source = entry.source AND there.shard = entry.shard AND entry.row < row_groups.num_rows
        AND there.place = row_groups.first + entry.row
    ORDER BY entry.source, entry.shard, entry.row_group, entry.row
"""

_EVALUATED = """
    CREATE TABLE evaluated AS
    SELECT DISTINCT content FROM rows WHERE id IN (SELECT id FROM index WHERE role = 'evaluation')
"""

_VERDICTS = """
    SELECT
        id, reason, id IN (SELECT id FROM rows) AS is_known, kept_id IN (SELECT id FROM rows) AS is_kept_known,
        kept_id IN (SELECT id FROM verdicts) AS has_kept_verdict
    FROM verdicts ORDER BY id
"""

_SETS = """
    SELECT
        told.id, found, read, num_rejected, read + num_rejected AS num_told, num_accounted,
        CASE WHEN found > num_kept_back THEN (num_rejected - num_kept_back) / (found - num_kept_back) END
            AS rejected_share,
        (SELECT count(*) FROM rows WHERE source = told.id) AS num_rows,
        (SELECT count(*) FROM index WHERE source = told.id AND role = 'train') AS num_train,
        num_published, found / nullif(num_published, 0) AS found_multiple
    FROM told LEFT JOIN published ON published.source = told.id ORDER BY told.id
"""


def make_tables(
    stores: Mapping[str, ShardStore],
    classes: Mapping[str, Sequence[str]],
    verdicts: pa.Table,
    index: pa.Table,
    waterfall: Mapping[str, Mapping[str, Any]],
    num_published: Mapping[str, int],
    spill: Path,
) -> dict[str, pd.DataFrame]:
    """The tables `rows`, `verdicts`, `mix` and `sets`, each with a column `id`.

    `stores` and `classes` are by set, and so is `num_published`, which has the sets alone whose records are all to be
    there. What does not fit into memory goes to the folder `spill`.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,  # nothing is fetched
        "autoload_known_extensions": False,
        "temp_directory": str(spill),
    }
    with duckdb.connect(config=config) as database:
        samples = _Samples(stores)
        frames = {
            "samples": samples.reader,
            "cards": pa.table(
                {"source": pa.array(list(classes), pa.string()), "classes": _lists(list(classes.values()))}
            ),
            "verdicts": verdicts,
            "index": index,
            "told": _list_told(waterfall),
            "published": pa.table(
                {
                    "source": pa.array(list(num_published), pa.string()),
                    "num_published": pa.array(list(num_published.values()), pa.int64()),
                }
            ),
        }
        for name, frame in frames.items():
            database.register(name, frame)
        try:
            database.execute(_ROWS)
        except duckdb.Error:
            if samples.failure is None:
                raise
            raise samples.failure from None
        database.register("row_groups", samples.list_row_groups())
        database.execute(_EVALUATED)
        return {
            "rows": database.sql(
                "SELECT * EXCLUDE (split, shard, place, content) FROM rows ORDER BY source, shard, place"
            ).df(),
            "verdicts": database.sql(_VERDICTS).df(),
            "mix": database.sql(_MIX).df(),
            "sets": database.sql(_SETS).df(),
        }


class _Samples:
    """The rows of all shards for DuckDB, each with its shard and place in it, and what is learned while they pass."""

    def __init__(self, stores: Mapping[str, ShardStore]) -> None:
        self.failure: OpenMedQError | None = None  # DuckDB hides what stops its reader
        self._groups: dict[str, list[Any]] = {
            name: [] for name in ("source", "shard", "row_group", "first", "num_rows")
        }
        batches = self._read(stores)
        first = next(batches, None)
        schema = SAMPLE_SCHEMA.append(pa.field("shard", pa.string())).append(pa.field("place", pa.int64()))
        self.reader = (
            pa.RecordBatchReader.from_batches(schema, [])
            if first is None
            else pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))
        )

    def _read(self, stores: Mapping[str, ShardStore]) -> Iterator[pa.RecordBatch]:
        try:
            for source, store in stores.items():
                for group in store.scan(_COLUMNS):
                    num_rows = len(group.rows)
                    for values, value in zip(
                        self._groups.values(), (source, group.shard, group.number, group.first, num_rows), strict=True
                    ):
                        values.append(value)
                    places = np.arange(group.first, group.first + num_rows)
                    yield group.rows.append_column("shard", pa.array([group.shard] * num_rows)).append_column(
                        "place", pa.array(places)
                    )
        except OpenMedQError as error:
            self.failure = error
            raise

    def list_row_groups(self) -> pa.Table:
        """Row groups, once all rows have passed."""
        types = (pa.string(), pa.string(), pa.int32(), pa.int64(), pa.int64())
        columns = [pa.array(values, kind) for values, kind in zip(self._groups.values(), types, strict=True)]
        return pa.table(columns, list(self._groups))


def _list_told(waterfall: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    numbers = {
        "id": list(waterfall),
        "found": [rows["found"] for rows in waterfall.values()],
        "read": [rows["read"] for rows in waterfall.values()],
        "num_rejected": [sum(rows["rejected"].values()) for rows in waterfall.values()],
        "num_kept_back": [
            sum(rows["rejected"].get(reason, 0) for reason in EXCLUDED_BY_REQUEST) for rows in waterfall.values()
        ],
        "num_accounted": [
            sum(sum(rows[part].values()) for part in ("duplicate", "kept_out", "mix")) for rows in waterfall.values()
        ],
    }
    return pa.table([pa.array(v, pa.string() if k == "id" else pa.int64()) for k, v in numbers.items()], list(numbers))


def _lists(values: list[Sequence[str]]) -> pa.Array:
    return pa.array([list(value) for value in values], pa.list_(pa.string()))
