"""The tables that `validate` holds to its expectations: columns of numbers and flags, without texts or pictures.

A column is null where what it tells does not apply to the row. What is asked of the columns is not said here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from openmedq.schema import SAMPLE_SCHEMA, WISHES

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
        shard, place, {_CONTENT} AS content
    FROM samples LEFT JOIN cards USING (source)
"""

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
    shards: Mapping[str, Sequence[Path]],
    classes: Mapping[str, Sequence[str]],
    verdicts: pa.Table,
    index: pa.Table,
    waterfall: Mapping[str, Mapping[str, Any]],
    num_published: Mapping[str, int],
    spill: Path,
) -> dict[str, pd.DataFrame]:
    """The tables `rows`, `verdicts`, `mix` and `sets`, each with a column `id`.

    `shards` and `classes` are by set, and so is `num_published`, which has the sets alone whose records are all to be
    there. What does not fit into memory goes to the folder `spill`.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,  # nothing is fetched
        "autoload_known_extensions": False,
        "temp_directory": str(spill),
    }
    with duckdb.connect(config=config) as database:
        files = [str(path) for paths in shards.values() for path in paths]
        _add_samples(database, files)
        frames = {
            "cards": pa.table(
                {"source": pa.array(list(classes), pa.string()), "classes": _lists(list(classes.values()))}
            ),
            "row_groups": _list_row_groups(shards),
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
        database.execute(_ROWS)
        database.execute(_EVALUATED)
        return {
            "rows": database.sql(
                "SELECT * EXCLUDE (split, shard, place, content) FROM rows ORDER BY source, shard, place"
            ).df(),
            "verdicts": database.sql(_VERDICTS).df(),
            "mix": database.sql(_MIX).df(),
            "sets": database.sql(_SETS).df(),
        }


def _add_samples(database: duckdb.DuckDBPyConnection, files: list[str]) -> None:
    """The view `samples` over all shards, with each row's shard and place in it."""
    if not files:
        database.register("nothing", SAMPLE_SCHEMA.empty_table())
        database.execute("CREATE VIEW samples AS SELECT *, '' AS shard, 0 AS place FROM nothing")
        return
    database.read_parquet(files, filename=True, file_row_number=True).create_view("files")
    database.execute(
        "CREATE VIEW samples AS SELECT *, parse_filename(filename) AS shard, file_row_number AS place FROM files"
    )


def _list_row_groups(shards: Mapping[str, Sequence[Path]]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in ("source", "shard", "row_group", "first", "num_rows")}
    for source, paths in shards.items():
        for path in paths:
            metadata = pq.read_metadata(path)
            first = 0
            for group in range(metadata.num_row_groups):
                num_rows = metadata.row_group(group).num_rows
                for name, value in zip(columns, (source, path.name, group, first, num_rows), strict=True):
                    columns[name].append(value)
                first += num_rows
    types = (pa.string(), pa.string(), pa.int32(), pa.int64(), pa.int64())
    return pa.table(
        [pa.array(values, kind) for values, kind in zip(columns.values(), types, strict=True)], list(columns)
    )


def _list_told(waterfall: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    numbers = {
        "id": list(waterfall),
        "found": [rows["found"] for rows in waterfall.values()],
        "read": [rows["read"] for rows in waterfall.values()],
        "num_rejected": [sum(rows["rejected"].values()) for rows in waterfall.values()],
        "num_kept_back": [sum(rows["rejected"].get(wish, 0) for wish in WISHES) for rows in waterfall.values()],
        "num_accounted": [
            sum(sum(rows[part].values()) for part in ("duplicate", "kept_out", "mix")) for rows in waterfall.values()
        ],
    }
    return pa.table([pa.array(v, pa.string() if k == "id" else pa.int64()) for k, v in numbers.items()], list(numbers))


def _lists(values: list[Sequence[str]]) -> pa.Array:
    return pa.array([list(value) for value in values], pa.list_(pa.string()))
