"""Pick the pairs of a training row and an evaluation row that the report shows: of open datasets only."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from openmedq import paths
from openmedq.curate.reasons import PAIR_SCHEMA, PAIR_TABLE, Tier
from openmedq.errors import StaleError
from openmedq.reporting.examples import Shown, in_turn, show
from openmedq.schema import Sample
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_table, remake

NUM_PAIRS = 4  # of a tier

_IDS = ("evaluation_id", "training_id")


@dataclass(frozen=True)
class Pair:
    """A training row, the evaluation row that it shares something with, and the decision."""

    tier: str
    evidence: float | None  # how alike what they share is, 0 to 1; None: equal
    is_kept: bool  # whether the training row is trained on
    evaluation: Shown
    training: Shown

    @property
    def shared(self) -> str:
        """`Near image, evidence 0.912`."""
        tier = self.tier.capitalize()
        return tier if self.evidence is None else f"{tier}, evidence {self.evidence:.3f}"

    @property
    def overruling(self) -> str:
        """The line of `deduplicate.overrides` that overrules the decision."""
        buffer = io.StringIO()
        decision = "copy" if self.is_kept else "different"
        csv.writer(buffer, lineterminator="").writerow([self.training.id, self.evaluation.id, decision])
        return buffer.getvalue()


def read_pairs(titles: Mapping[str, str], most: int) -> list[Pair]:
    """At most `most` pairs of each tier, the strongest tier first, of rows of the datasets with these titles.

    Raises:
        StaleError: the pairs are damaged, or older than the shards.
    """
    if not most or not PAIR_TABLE.exists():
        return []
    picked = [row for tier in Tier for row in _pick(titles, tier)[:most]]
    samples = _read_samples({row[name] for row in picked for name in _IDS})
    return [
        Pair(
            row["tier"],
            row["evidence"],
            row["is_kept"],
            *(show(samples[row[name]], titles[_dataset_of(row[name])]) for name in _IDS),
        )
        for row in picked
    ]


def _pick(datasets: Collection[str], tier: Tier) -> list[dict[str, Any]]:
    """The pairs of a tier, those of different datasets and outcomes in turn, first rows that are trained on."""
    table = read_table(PAIR_TABLE, PAIR_SCHEMA)
    groups: dict[tuple[str, str, bool], list[dict[str, Any]]] = {}
    for row in table.filter(pc.equal(table["tier"], tier.value)).to_pylist():
        training, evaluation = (_dataset_of(row[name]) for name in ("training_id", "evaluation_id"))
        if training in datasets and evaluation in datasets:
            groups.setdefault((training, evaluation, row["is_kept"]), []).append(row)
    return list(in_turn(groups[key] for key in sorted(groups, key=lambda key: not key[2])))


def _read_samples(ids: Collection[str]) -> dict[str, Sample]:
    """Rows by id; most are not in the index of the mix."""
    datasets = sorted(map(_dataset_of, ids))
    places = [ShardStore(paths.SAMPLES / dataset).locate(ids) for dataset in dict.fromkeys(datasets)]
    found = {sample.id: sample for own in places for sample in ShardStore(paths.SAMPLES).take(own)}
    if found.keys() != set(ids):
        raise StaleError(f"{PAIR_TABLE}: is older than the shards; {remake(PAIR_TABLE)}")
    return found


def _dataset_of(row_id: str) -> str:
    return row_id.partition("/")[0]
