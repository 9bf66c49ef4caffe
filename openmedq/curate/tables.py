"""The tables that `validate` checks: numbers and flags per row, without texts or images.

A column is null if it does not apply to the row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from openmedq.datasets.card import Card
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
        CASE WHEN task IN ('vqa', 'caption', 'report', 'classification') THEN len(images) END AS num_images,
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
    WITH
        row_groups AS (SELECT folder, shard, row_group, count(*) AS num_rows FROM rows GROUP BY ALL),
        evaluated AS (SELECT content FROM rows WHERE id IN (SELECT id FROM index WHERE role = 'evaluation'))
    SELECT
        entry.id, entry.source, entry.role, entry.weight, entry.row, row_groups.num_rows AS num_rows_in_group,
        found_row.id AS id_at_position,
        count(DISTINCT entry.role) OVER (PARTITION BY entry.id) AS num_roles,
        entry.id IN (SELECT id FROM verdicts) AS has_decision,
        coalesce(entry.role <> 'evaluation' AND found_row.content IN (SELECT content FROM evaluated), false)
            AS repeats_evaluation
    FROM index AS entry
    LEFT JOIN row_groups
        ON row_groups.folder = entry.source AND row_groups.shard = entry.shard
        AND row_groups.row_group = entry.row_group
    LEFT JOIN rows AS found_row
        ON found_row.folder = entry.source AND found_row.shard = entry.shard
        AND found_row.row_group = entry.row_group AND found_row.row = entry.row
    ORDER BY entry.source, entry.shard, entry.row_group, entry.row
"""

_DUPLICATES = """
    SELECT
        id, reason, id IN (SELECT id FROM rows) AS is_known, kept_id IN (SELECT id FROM rows) AS is_kept_known,
        kept_id IN (SELECT id FROM verdicts) AS has_kept_decision
    FROM verdicts ORDER BY id
"""

_DATASETS = """
    SELECT
        counts.id, found, read, num_rejected, read + num_rejected AS num_read_or_rejected, num_accounted,
        CASE WHEN found > num_by_request THEN (num_rejected - num_by_request) / (found - num_by_request) END
            AS rejected_share,
        (SELECT count(*) FROM rows WHERE source = counts.id) AS num_rows,
        (SELECT count(*) FROM index WHERE source = counts.id AND role = 'train') AS num_train,
        num_published, found / nullif(num_published, 0) AS found_multiple
    FROM counts LEFT JOIN cards ON cards.source = counts.id ORDER BY counts.id
"""


_CARDS = pa.schema([("source", pa.string()), ("classes", pa.list_(pa.string())), ("num_published", pa.int64())])

_COUNTS = pa.schema(
    {"id": pa.string()}
    | dict.fromkeys(("found", "read", "num_rejected", "num_by_request", "num_accounted"), pa.int64())
)


def make_tables(
    cards: Mapping[str, Card],
    stores: Mapping[str, ShardStore],
    complete: Collection[str],
    verdicts: pa.Table,
    index: pa.Table,
    waterfall: Mapping[str, Mapping[str, Any]],
    spill: Path,
) -> dict[str, pd.DataFrame]:
    """Make the tables `rows`, `duplicates`, `mix` and `datasets`, each with a column `id`.

    `cards`, `stores` and `waterfall` are by dataset; `complete` are the datasets that must have all published records.
    DuckDB writes to the folder `spill` what does not fit into memory.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,  # no download
        "autoload_known_extensions": False,
        "temp_directory": str(spill),
    }
    with duckdb.connect(config=config) as database:
        frames = {
            "samples": pa.schema([*SAMPLE_SCHEMA, *(pa.field(*each) for each in _POSITION.items())]).empty_table(),
            "cards": pa.table(
                {
                    "source": list(cards),
                    "classes": [card.classes for card in cards.values()],
                    "num_published": [card.num_published if name in complete else None for name, card in cards.items()],
                },
                _CARDS,
            ),
            "verdicts": verdicts,
            "index": index,
            "counts": pa.Table.from_pylist([_sum_up(name, counts) for name, counts in waterfall.items()], _COUNTS),
        }
        for name, frame in frames.items():
            database.register(name, frame)
        database.execute(f"CREATE TABLE rows AS {_ROWS}")
        for chunk in _read(stores):
            database.register("samples", chunk)
            database.execute(f"INSERT INTO rows {_ROWS}")
        return {
            "rows": database.sql(
                "SELECT * EXCLUDE (split, folder, shard, row_group, row, content) FROM rows "
                "ORDER BY folder, shard, row_group, row"
            ).df(),
            "duplicates": database.sql(_DUPLICATES).df(),
            "mix": database.sql(_MIX).df(),
            "datasets": database.sql(_DATASETS).df(),
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


def _sum_up(name: str, counts: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the table `counts`, from a dataset's waterfall."""
    return {
        "id": name,
        "found": counts["found"],
        "read": counts["read"],
        "num_rejected": sum(counts["rejected"].values()),
        "num_by_request": sum(counts["rejected"].get(reason, 0) for reason in EXCLUDED_BY_REQUEST),
        "num_accounted": sum(sum(counts[part].values()) for part in ("duplicate", "kept_out", "mix")),
    }
