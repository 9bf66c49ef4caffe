"""`mix`: the index of the rows in use, with role and weight, and the number of rows that each step removed."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openmedq import paths
from openmedq.config import Licences, Params
from openmedq.curate.datasets import NormalizedDataset, load_datasets
from openmedq.errors import StaleError
from openmedq.schema import INDEX_SCHEMA, Role
from openmedq.storage.publish import publish
from openmedq.storage.tables import INDEX, open_writer, read_verdicts

_COLUMNS = ["id", "source", "split", "task", "licence", "turns", "images.list.element.image_id"]
MAX_GROUPS = 256  # row groups of a shard whose positions are in memory
ROLE_NULL = "role null"
WEIGHT_ZERO = "weight 0"


def run(params: Params) -> None:
    """Write data/mix: index.parquet (INDEX_SCHEMA) and waterfall.json, datasets in the catalogue's order."""
    datasets = load_datasets(params.mix.roles)
    decisions = read_verdicts().combine_chunks()
    waterfall = {}
    with publish(paths.MIX) as folder:
        folder.mkdir()
        with (folder / INDEX.name).open("wb") as file, open_writer(file, INDEX_SCHEMA) as writer:
            for dataset in datasets:
                weight = params.mix.weights.get(dataset.id, 1.0)
                excluded: Counter[str] = Counter()
                roles: Counter[str] = Counter()
                own = decisions.filter(pc.starts_with(decisions["id"], f"{dataset.id}/"))
                for index in _index(dataset, weight, own, params.policy.licences, excluded):
                    if len(index):
                        writer.write_table(index)
                    roles.update(_count(index["role"]))
                waterfall[dataset.id] = _summarize(dataset, excluded, roles)
        (folder / "waterfall.json").write_text(json.dumps(waterfall, indent=2) + "\n", encoding="utf-8")


def _index(
    dataset: NormalizedDataset, weight: float, decisions: pa.Table, policy: Licences, excluded: Counter[str]
) -> Iterator[pa.Table]:
    """The dataset's part of the index, piece by piece; adds the number of excluded rows by reason to `excluded`."""
    for rows in _read_positions(dataset):
        splits = rows["split"].combine_chunks().dictionary_encode()
        roles = pa.array(map(dataset.role_of, splits.dictionary.to_pylist()), pa.string()).take(splits.indices)
        # Only the first reason that applies is counted.
        reasons = pc.coalesce(
            pc.if_else(pc.is_null(roles), ROLE_NULL, None),
            dataset.find_exclusions(rows["licence"].combine_chunks(), policy),
            decisions["reason"].combine_chunks().take(pc.index_in(rows["id"], decisions["id"])),
            pc.if_else(pc.and_(pc.equal(roles, Role.TRAIN.value), weight == 0), WEIGHT_ZERO, None),
        )
        excluded.update(_count(reasons.drop_null()))
        weights = pc.if_else(pc.equal(roles, Role.TRAIN.value), weight, 1.0)
        access = pa.repeat(dataset.access, len(rows))
        for name, column in (("role", roles), ("access", access), ("weight", weights)):
            rows = rows.append_column(name, column)
        yield rows.filter(pc.is_null(reasons)).select(INDEX_SCHEMA.names).cast(INDEX_SCHEMA)


def _count(values: pa.Array) -> dict[str, int]:
    return {each["values"]: each["counts"] for each in pc.value_counts(values).to_pylist()}


def _read_positions(dataset: NormalizedDataset) -> Iterator[pa.Table]:
    """Id, source, split, task, licence, size and position of each row, at most MAX_GROUPS row groups at a time."""
    groups = dataset.store.scan(_COLUMNS)
    for (shard, _), own in itertools.groupby(groups, lambda group: (group.shard, group.number // MAX_GROUPS)):
        batches, numbers, places = [], [], []
        for group in own:
            batches.append(_measure(group.rows))
            numbers.append(np.full(len(group.rows), group.number, np.int32))
            places.append(np.arange(len(group.rows), dtype=np.int32))
        rows = pa.Table.from_batches(batches).combine_chunks()
        rows = rows.append_column("shard", pa.repeat(shard, len(rows)))
        rows = rows.append_column("row_group", pa.array(np.concatenate(numbers)))
        yield rows.append_column("row", pa.array(np.concatenate(places)))


def _measure(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Replace images and texts by their numbers: num_images, num_chars."""
    num_images = pc.fill_null(pc.list_value_length(rows["images"]), 0)
    num_chars = pa.array(_count_chars(rows["turns"]))
    rows = rows.drop_columns(["images", "turns"]).append_column("num_images", num_images)
    return rows.append_column("num_chars", num_chars)


def _count_chars(turns: pa.ListArray) -> NDArray[np.int64]:
    """The number of characters of the texts of each row's turns."""
    parents, structs = pc.list_parent_indices(turns), pc.list_flatten(turns)
    options = pc.struct_field(structs, "options")
    texts = [(parents, pc.struct_field(structs, name)) for name in ("question", "answer", "context")]
    texts.append((parents.take(pc.list_parent_indices(options)), pc.list_flatten(options)))
    counts = np.zeros(len(turns), np.int64)
    for rows, text in texts:
        lengths = pc.utf8_length(text).to_numpy(zero_copy_only=False)
        counts += np.bincount(rows.to_numpy(), lengths, len(turns)).astype(np.int64)
    return counts


def _summarize(dataset: NormalizedDataset, excluded: Counter[str], roles: Counter[str]) -> dict[str, Any]:
    """The dataset's waterfall; StaleError if its rows do not add up to those of counts.json."""
    counts = dataset.counts
    num_rows = excluded.total() + roles.total()
    if counts["read"] != num_rows or counts["found"] != num_rows + sum(counts["rejected"].values()):
        raise StaleError(
            f"{paths.SAMPLES / dataset.id}: counts.json has {counts['read']} rows, the shards have {num_rows}; "
            f"run `dvc repro --force normalize@{dataset.id}`, which writes both"
        )
    by_reason = dict(sorted(excluded.items()))
    duplicate = {reason: number for reason, number in by_reason.items() if reason.startswith("duplicate ")}
    return {
        "kind": dataset.kind,
        "state": counts["state"],
        **({"reason": counts["reason"]} if "reason" in counts else {}),
        "found": counts["found"],
        "read": counts["read"],
        "rejected": dict(sorted(counts["rejected"].items())),
        "duplicate": duplicate,
        "kept_out": {reason: number for reason, number in by_reason.items() if reason not in duplicate},
        "mix": {role.value: roles[role.value] for role in Role if roles[role.value]},
    }
