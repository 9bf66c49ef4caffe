"""The tables that `validate` checks: numbers and flags per row, without texts or images.

A column is null where its question does not apply to the row. `validate` states what the columns must satisfy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from openmedq.schema import EXCLUDED_BY_REQUEST, SAMPLE_SCHEMA
from openmedq.storage.shards import ShardStore

CHUNK_ROWS = 2**16  # rows in memory with their texts

# Texts are normalized here independently of `fingerprints`, so that a mistake there is noticed.
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
    SELECT
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
        folder, shard, row_group, row, {_CONTENT} AS content
    FROM samples LEFT JOIN cards USING (source)
"""

_COLUMNS = [
    *("id", "source", "split", "task", "modality", "licence", "turns", "labels"),
    *(f"images.list.element.{name}" for name in ("pixels_sha256", "width", "height")),
]
_POSITION = {"folder": pa.string(), "shard": pa.string(), "row_group": pa.int32(), "row": pa.int32()}

_MIX = """
    SELECT
        entry.id, entry.source, entry.role, entry.weight, entry.row, row_groups.num_rows AS num_rows_in_group,
        there.id AS id_there,
        count(DISTINCT entry.role) OVER (PARTITION BY entry.id) AS num_roles,
        entry.id IN (SELECT id FROM verdicts) AS has_verdict,
        coalesce(entry.role <> 'evaluation' AND there.content IN (SELECT content FROM evaluated), false)
            AS repeats_evaluation
    FROM index AS entry
    LEFT JOIN row_groups
        ON row_groups.folder = entry.source AND row_groups.shard = entry.shard
        AND row_groups.row_group = entry.row_group
    LEFT JOIN rows AS there
        ON there.folder = entry.source AND there.shard = entry.shard
        AND there.row_group = entry.row_group AND there.row = entry.row
    ORDER BY entry.source, entry.shard, entry.row_group, entry.row
"""

_ROW_GROUPS = """
    CREATE TABLE row_groups AS SELECT folder, shard, row_group, count(*) AS num_rows FROM rows GROUP BY ALL
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
    """Make the tables `rows`, `verdicts`, `mix` and `sets`, each with a column `id`.

    Args:
        stores: the shards of each dataset.
        classes: the classes of each dataset.
        verdicts: the duplicate decisions.
        index: of the mix.
        waterfall: of the mix, by dataset.
        num_published: published number of records, of the datasets that must be complete.
        spill: folder for data that do not fit into memory.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,  # no download
        "autoload_known_extensions": False,
        "temp_directory": str(spill),
    }
    with duckdb.connect(config=config) as database:
        frames = {
            "samples": pa.schema([*SAMPLE_SCHEMA, *(pa.field(*each) for each in _POSITION.items())]).empty_table(),
            "cards": _table({"source": list(classes), "classes": map(list, classes.values())}, [pa.string(), _STRINGS]),
            "verdicts": verdicts,
            "index": index,
            "told": _summarize(waterfall),
            "published": _table({"source": num_published, "num_published": num_published.values()}),
        }
        for name, frame in frames.items():
            database.register(name, frame)
        database.execute(f"CREATE TABLE rows AS {_ROWS}")
        for chunk in _read(stores):
            database.register("samples", chunk)
            database.execute(f"INSERT INTO rows {_ROWS}")
        database.execute(_ROW_GROUPS)
        database.execute(_EVALUATED)
        return {
            "rows": database.sql(
                "SELECT * EXCLUDE (split, folder, shard, row_group, row, content) FROM rows "
                "ORDER BY folder, shard, row_group, row"
            ).df(),
            "verdicts": database.sql(_VERDICTS).df(),
            "mix": database.sql(_MIX).df(),
            "sets": database.sql(_SETS).df(),
        }


def _read(stores: Mapping[str, ShardStore]) -> Iterator[pa.Table]:
    """The rows of all shards with their positions, in chunks of about CHUNK_ROWS."""
    waiting: list[pa.RecordBatch] = []
    for folder, store in stores.items():
        for group in store.scan(_COLUMNS):
            num_rows = len(group.rows)
            position = ([folder] * num_rows, [group.shard] * num_rows, [group.number] * num_rows, np.arange(num_rows))
            rows = group.rows
            for (name, kind), values in zip(_POSITION.items(), position, strict=True):
                rows = rows.append_column(name, pa.array(values, kind))
            waiting.append(rows)
            if sum(map(len, waiting)) >= CHUNK_ROWS:
                yield pa.Table.from_batches(waiting)
                waiting.clear()
    if waiting:
        yield pa.Table.from_batches(waiting)


_STRINGS = pa.list_(pa.string())


def _summarize(waterfall: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    rows = waterfall.values()
    return _table(
        {
            "id": waterfall,
            "found": [each["found"] for each in rows],
            "read": [each["read"] for each in rows],
            "num_rejected": [sum(each["rejected"].values()) for each in rows],
            "num_kept_back": [sum(each["rejected"].get(reason, 0) for reason in EXCLUDED_BY_REQUEST) for each in rows],
            "num_accounted": [
                sum(sum(each[part].values()) for part in ("duplicate", "kept_out", "mix")) for each in rows
            ],
        }
    )


def _table(columns: Mapping[str, Any], kinds: Sequence[pa.DataType] | None = None) -> pa.Table:
    """A table of the columns; by default the first one is of strings and the others are of integers."""
    kinds = kinds or [pa.string(), *[pa.int64()] * (len(columns) - 1)]
    arrays = [pa.array(list(values), kind) for values, kind in zip(columns.values(), kinds, strict=True)]
    return pa.table(arrays, list(columns))
