"""What enters the mix, as what and how often: an index into the shards, no copies, and the waterfall of rows."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openmedq import paths
from openmedq.config import Licences, Params
from openmedq.curate.gate import find_refusals
from openmedq.curate.sets import DataSet, load_sets
from openmedq.errors import StaleError
from openmedq.schema import INDEX_SCHEMA, Role
from openmedq.storage.publish import publish
from openmedq.storage.tables import read_verdicts

ROLE_NULL = "role null"
WEIGHT_ZERO = "weight 0"


def run(params: Params) -> None:
    """Write data/mix: index.parquet (INDEX_SCHEMA) and waterfall.json, sets in the catalogue's order."""
    sets = load_sets(params.mix.roles)
    verdicts = read_verdicts().combine_chunks()
    waterfall = {}
    with publish(paths.MIX) as folder:
        folder.mkdir()
        with pq.ParquetWriter(folder / "index.parquet", INDEX_SCHEMA, compression="zstd") as writer:
            for data_set in sets:
                weight = params.mix.weights.get(data_set.id, 1.0)
                index, fates = _index(data_set, weight, verdicts, params.policy.licences)
                if len(index):
                    writer.write_table(index)
                waterfall[data_set.id] = _tell(data_set, fates, index)
        (folder / "waterfall.json").write_text(json.dumps(waterfall, indent=2) + "\n", encoding="utf-8")


def _index(data_set: DataSet, weight: float, verdicts: pa.Table, policy: Licences) -> tuple[pa.Table, Counter[str]]:
    """The set's part of the index, and how many of its rows are not in it, by reason."""
    fates: Counter[str] = Counter()
    parts = []
    for rows in _read_positions(data_set):
        roles = pa.array([data_set.role_of(split) for split in rows["split"].to_pylist()], pa.string())
        # The first reason that applies is the one that counts.
        fate = pc.coalesce(
            pc.if_else(pc.is_null(roles), ROLE_NULL, None),
            find_refusals(data_set, rows["licence"].combine_chunks(), policy),
            verdicts["reason"].combine_chunks().take(pc.index_in(rows["id"], verdicts["id"])),
            pc.if_else(pc.and_(pc.equal(roles, Role.TRAIN.value), weight == 0), WEIGHT_ZERO, None),
        )
        fates.update(reason for reason in fate.to_pylist() if reason)
        weights = pc.if_else(pc.equal(roles, Role.TRAIN.value), weight, 1.0)
        access = pa.array([data_set.access] * len(rows), pa.string())
        for name, column in (("role", roles), ("access", access), ("weight", weights)):
            rows = rows.append_column(name, column)
        parts.append(rows.filter(pc.is_null(fate)).select(INDEX_SCHEMA.names).cast(INDEX_SCHEMA))
    return pa.concat_tables([INDEX_SCHEMA.empty_table(), *parts]), fates


def _read_positions(data_set: DataSet) -> Iterator[pa.Table]:
    """Id, source, split, task and licence of each row of each shard, and where it lies, in that order."""
    groups = data_set.store.scan(["id", "source", "split", "task", "licence"])
    for shard, own in itertools.groupby(groups, lambda group: group.shard):
        batches, numbers, places = [], [], []
        for group in own:
            batches.append(group.rows)
            numbers.append(np.full(len(group.rows), group.number, np.int32))
            places.append(np.arange(len(group.rows), dtype=np.int32))
        rows = pa.Table.from_batches(batches).combine_chunks()
        rows = rows.append_column("shard", pa.array([shard] * len(rows), pa.string()))
        rows = rows.append_column("row_group", pa.array(np.concatenate(numbers)))
        yield rows.append_column("row", pa.array(np.concatenate(places)))


def _tell(data_set: DataSet, fates: Counter[str], index: pa.Table) -> dict[str, Any]:
    """The set's waterfall, which must hold each row once: StaleError where counts.json says otherwise."""
    counts = data_set.counts
    roles = Counter(index["role"].to_pylist())
    duplicate, kept_out = _split(fates)
    num_told = sum(fates.values()) + len(index)
    if counts["read"] != num_told or counts["found"] != num_told + sum(counts["rejected"].values()):
        raise StaleError(
            f"{paths.SAMPLES / data_set.id}: counts.json tells of {counts['read']} rows, the shards hold {num_told}; "
            f"`dvc repro --force normalize@{data_set.id}` writes both"
        )
    return {
        "kind": data_set.kind,
        "state": counts["state"],
        **({"reason": counts["reason"]} if "reason" in counts else {}),
        "found": counts["found"],
        "read": counts["read"],
        "rejected": dict(sorted(counts["rejected"].items())),
        "duplicate": duplicate,
        "kept_out": kept_out,
        "mix": {role.value: roles[role.value] for role in Role if roles[role.value]},
    }


def _split(fates: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Copies of other rows of the mix, and rows kept out of it."""
    ordered = sorted(fates.items())
    duplicate = {reason: number for reason, number in ordered if reason.startswith("duplicate ")}
    return duplicate, {reason: number for reason, number in ordered if reason not in duplicate}
