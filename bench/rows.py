"""Text rows for the benchmarks of `mix` and `validate`: shards, counts, duplicate decisions and a catalogue.

Half of the rows are captions of 20 to 80 words, half are short questions; 3 % have a duplicate decision, 2 % are
evaluation rows. Rows are built as Arrow tables, a row group at a time, because a million dictionaries take minutes.
"""

import json
from collections.abc import Iterator
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apart import draw_words

from openmedq import paths
from openmedq.datasets import catalogue, registry
from openmedq.datasets.card import Card
from openmedq.schema import SAMPLE_SCHEMA, VERDICT_SCHEMA, Role, Task
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import open_writer

NUM_DATASETS = 4
NUM_TEXTS = 50_000  # different captions, which a number tells apart
GROUP_ROWS, SHARD_GROUPS = 1024, 128


def write(num_rows: int) -> None:
    """Write the inputs of `mix` below the current folder."""
    random = np.random.default_rng(0)
    words = np.array(draw_words(Random(0), 5000))
    texts = [" ".join(random.choice(words, random.integers(20, 81))) for _ in range(NUM_TEXTS)]
    texts += [" ".join(random.choice(words, random.integers(4, 15))) for _ in range(NUM_TEXTS)]
    pool = pa.array(texts)
    cards, decisions = {}, []
    for number in range(NUM_DATASETS):
        name = f"bench_{number}"
        own = num_rows // NUM_DATASETS
        cards[name] = _make_card(name)
        _write_dataset(name, own, pool, np.random.default_rng(number))
        ids = np.arange(10, own, 33)  # none of them is an evaluation row
        decisions += [
            (f"{name}/{each}", f"{name}/{each - 1}", "duplicate exact", "same text") for each in ids if each % 50
        ]
    paths.VERDICTS.mkdir(parents=True)
    columns = [dict(zip(("id", "kept_id", "reason", "tier"), each, strict=True)) for each in decisions]
    pq.write_table(pa.Table.from_pylist(columns, VERDICT_SCHEMA), paths.VERDICTS / "verdicts.parquet")
    paths.CATALOGUE.write_text(catalogue.render(cards, dict.fromkeys(cards, "bench.py")), encoding="utf-8")


def _write_dataset(name: str, num_rows: int, pool: pa.Array, random: np.random.Generator) -> None:
    folder = paths.SAMPLES / name
    folder.mkdir(parents=True)
    groups = _make_groups(name, num_rows, pool, random)
    table = next(groups, None)
    for number in range(num_rows):
        if table is None:
            break
        with (folder / f"shard-{number:05}.parquet").open("wb") as file, open_writer(file, SAMPLE_SCHEMA) as writer:
            for _ in range(SHARD_GROUPS):
                if table is not None:
                    writer.write_table(table)
                    table = next(groups, None)
    splits = pc.value_counts(ShardStore(folder).read(["split"])["split"]).to_pylist()
    counts = {"state": "present", "origin": "mirror", "found": num_rows, "read": num_rows, "rejected": {}}
    counts |= {"splits": {each["values"]: each["counts"] for each in splits}, "num_images": 0}
    (folder / "counts.json").write_text(json.dumps(counts), encoding="utf-8")


def _make_groups(name: str, num_rows: int, pool: pa.Array, random: np.random.Generator) -> Iterator[pa.Table]:
    for start in range(0, num_rows, GROUP_ROWS):
        numbers = np.arange(start, min(start + GROUP_ROWS, num_rows))
        size = len(numbers)
        keys = pa.array(numbers).cast(pa.string())
        is_caption = random.random(size) < 0.5
        answers = pc.binary_join_element_wise(
            pool.take(pa.array(np.where(is_caption, 0, NUM_TEXTS) + random.integers(0, NUM_TEXTS, size))), keys, " "
        )
        questions = pool.take(pa.array(NUM_TEXTS + random.integers(0, NUM_TEXTS, size)))
        empty = pa.array([""] * size)
        offsets = pa.array(np.arange(size + 1, dtype=np.int32))
        none = pa.ListArray.from_arrays(pa.array(np.zeros(size + 1, np.int32)), pa.array([], pa.string()))
        turns = pa.StructArray.from_arrays(
            [questions, answers, empty, none, none], names=["question", "answer", "context", "options", "alternatives"]
        )
        file = pa.array(["rows.json"] * size)
        columns = {
            "id": pc.binary_join_element_wise(pa.scalar(name), keys, "/"),
            "source": pa.array([name] * size),
            "split": pa.array(np.where(numbers % 50, "train", "test")),
            "task": pa.array([str(Task.TEXT_QA)] * size),
            "modality": pa.array(["text"] * size),
            "licence": pa.array(["CC0-1.0"] * size),
            "provenance": pa.StructArray.from_arrays([file, keys], names=["file", "record"]),
            "turns": pa.ListArray.from_arrays(offsets, turns),
        }
        columns |= {each: pa.nulls(size, SAMPLE_SCHEMA.field(each).type) for each in ("images", "groups")}
        columns["images"] = _empty_lists(size, "images")
        columns |= {each: _empty_lists(size, each) for each in ("labels", "attributes")}
        arrays = [columns[each.name].cast(each.type) for each in SAMPLE_SCHEMA]
        yield pa.Table.from_arrays(arrays, schema=SAMPLE_SCHEMA)


def _empty_lists(size: int, name: str) -> pa.Array:
    values = pa.array([], SAMPLE_SCHEMA.field(name).type.value_type)
    return pa.ListArray.from_arrays(pa.array(np.zeros(size + 1, np.int32)), values)


def _make_card(name: str) -> Card:
    roles = {"train": Role.TRAIN, "test": Role.EVALUATION}
    changes = {"id": name, "title": name, "roles": roles, "published_rows": dict.fromkeys(roles, 1)}
    return registry.load("medqa").card.model_copy(update={**changes, "licence": "CC0-1.0"})
