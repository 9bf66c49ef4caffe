"""The tables that `validate` checks: numbers and flags derived from the data, without texts and images.

A column is null if it does not apply to the row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from openmedq.datasets.card import Card
from openmedq.errors import OpenMedQError
from openmedq.schema import SAMPLE_SCHEMA, WISHES
from openmedq.storage.shards import ShardStore

# Written independently of `fingerprints`, so that a mistake there is found here.
_CONTENT = """
    sha256(concat_ws(chr(29),
        translate(
            regexp_replace(
                array_to_string(list_transform(turns, lambda turn: concat_ws(chr(30),
                    turn.question, turn.context, array_to_string(turn.options, chr(31)), turn.answer)), chr(29)),
                '\\s+', ' ', 'g'),
            'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz'),
        array_to_string(list_sort(labels), chr(30)),
        array_to_string(list_sort(list_transform(pictures, lambda picture: picture.pixels_sha256)), chr(30))))
"""

_ROWS = f"""
    CREATE TABLE rows AS SELECT
        id, source, split, source || ' ' || split AS source_split, role, task, modality, licence,
        CASE WHEN task <> 'classification'
            THEN coalesce(list_min(list_transform(turns, lambda turn: length(trim(turn.answer)))), 0)
            END AS shortest_answer_chars,
        list_max(list_transform(turns, lambda turn: length(turn.answer))) AS longest_answer_chars,
        CASE WHEN task IN ('vqa', 'multiple_choice', 'text_qa')
            THEN coalesce(list_min(list_transform(turns, lambda turn: length(trim(turn.question)))), 0)
            END AS shortest_question_chars,
        CASE WHEN task IN ('vqa', 'caption', 'report', 'classification') THEN len(pictures) END AS num_pictures,
        list_min(list_transform(pictures, lambda picture: least(picture.width, picture.height))) AS shortest_side_px,
        CASE WHEN task = 'multiple_choice'
            THEN len(list_filter(turns, lambda turn: NOT list_contains(turn.options, turn.answer)))
            END AS num_answers_not_offered,
        CASE WHEN task = 'classification' AND len(classes) > 0
            THEN len(list_filter(labels, lambda label: NOT list_contains(classes, label)))
            END AS num_unknown_labels,
        shard, row_group, place, {_CONTENT} AS content
    FROM samples LEFT JOIN cards USING (source)
"""

_COLUMNS = [
    *("id", "source", "split", "role", "task", "modality", "licence", "turns", "labels"),
    *(f"pictures.list.element.{name}" for name in ("pixels_sha256", "width", "height")),
]

_MIX = """
    WITH
        row_groups AS (
            SELECT source, shard, row_group, min(place) AS first, count(*) AS num_rows FROM rows GROUP BY ALL
        ),
        evaluated AS (SELECT content FROM rows WHERE id IN (SELECT id FROM index WHERE role = 'evaluation'))
    SELECT
        entry.id, entry.source, entry.role, entry.weight, entry.row, row_groups.num_rows AS num_rows_in_group,
        found_row.id AS id_at_position,
        count(DISTINCT entry.role) OVER (PARTITION BY entry.id) AS num_roles,
        entry.id IN (SELECT id FROM verdicts) AS has_decision,
        coalesce(entry.role <> 'evaluation' AND found_row.content IN (SELECT content FROM evaluated), false)
            AS repeats_evaluation
    FROM index AS entry
    LEFT JOIN row_groups USING (source, shard, row_group)
    LEFT JOIN rows AS found_row
        ON found_row.source = entry.source AND found_row.shard = entry.shard AND entry.row < row_groups.num_rows
        AND found_row.place = row_groups.first + entry.row
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
        failures: list[OpenMedQError] = []
        frames = {
            "samples": _open_reader(_scan(stores, failures)),
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
            "counts": pa.Table.from_pylist([_sum_up(name, rows) for name, rows in waterfall.items()], _COUNTS),
        }
        for name, frame in frames.items():
            database.register(name, frame)
        try:
            database.execute(_ROWS)
        except duckdb.Error:
            if not failures:
                raise
            raise failures[0] from None
        return {
            "rows": database.sql(
                "SELECT * EXCLUDE (split, shard, row_group, place, content) FROM rows ORDER BY source, shard, place"
            ).df(),
            "duplicates": database.sql(_DUPLICATES).df(),
            "mix": database.sql(_MIX).df(),
            "datasets": database.sql(_DATASETS).df(),
        }


def _scan(stores: Mapping[str, ShardStore], failures: list[OpenMedQError]) -> Iterator[pa.RecordBatch]:
    """The rows of all shards with shard, row group and place in the shard; DuckDB hides an error, so it is kept."""
    try:
        for store in stores.values():
            for group in store.scan(_COLUMNS):
                num_rows = len(group.rows)
                places = np.arange(group.first, group.first + num_rows)
                rows = group.rows.append_column("shard", pa.array([group.shard] * num_rows))
                rows = rows.append_column("row_group", pa.array([group.number] * num_rows, pa.int32()))
                yield rows.append_column("place", pa.array(places))
    except OpenMedQError as error:
        failures.append(error)
        raise


def _open_reader(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatchReader:
    first = next(batches, None)
    if first is not None:
        return pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))
    places = pa.schema([("shard", pa.string()), ("row_group", pa.int32()), ("place", pa.int64())])
    return pa.RecordBatchReader.from_batches(pa.schema([*SAMPLE_SCHEMA, *places]), [])


def _sum_up(name: str, rows: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the table `counts`, from a dataset's waterfall."""
    return {
        "id": name,
        "found": rows["found"],
        "read": rows["read"],
        "num_rejected": sum(rows["rejected"].values()),
        "num_by_request": sum(rows["rejected"].get(wish, 0) for wish in WISHES),
        "num_accounted": sum(sum(rows[part].values()) for part in ("duplicate", "kept_out", "mix")),
    }
