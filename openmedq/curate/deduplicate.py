"""`deduplicate`: which rows are copies of others, and which training rows repeat evaluation rows.

It writes a decision for each such row and copies no row. The rules are in `curate/duplicates.py`.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from openmedq import paths
from openmedq.config import Params
from openmedq.curate import overrides
from openmedq.curate.collect import collect, compare_rows
from openmedq.curate.datasets import NormalizedDataset, load_datasets
from openmedq.curate.duplicates import NAMES, Decisions, decide
from openmedq.curate.images import ThumbnailFile
from openmedq.curate.links import TRAIN, count, find_contaminated, pick_pairs
from openmedq.curate.reasons import PAIR_SCHEMA, PAIR_TABLE, Tier
from openmedq.schema import CLEAN_SCHEMA
from openmedq.storage.publish import publish
from openmedq.storage.tables import CLEAN_TABLE, VERDICT_TABLE, write_table

COPIES = (
    *(Tier.PERSON, Tier.SAME_PIXELS, Tier.SAME_LOOK, Tier.NEAR_IMAGE, Tier.SAME_TEXT, Tier.NEAR_TEXT),
    *NAMES,
)


def run(params: Params) -> None:
    """Write data/verdicts.

    - verdicts.parquet (VERDICT_SCHEMA): the decisions.
    - counts.json: their number, as {dataset: {reason: rows}}.
    - clean.parquet (CLEAN_SCHEMA): for each evaluation row, which kind of copy of it is trained on.
    - contamination.json: {source: {evaluation dataset: {tier: {training_rows, kept, evaluation_rows}}}}, by what rows
      share; `kept` of the training rows are trained on.
    - pairs.parquet (PAIR_SCHEMA): some of these pairs of rows, for the report.
    """
    datasets = load_datasets(params.mix.roles)
    lines = overrides.read(Path(params.deduplicate.overrides))
    with publish(paths.VERDICTS) as folder:
        folder.mkdir()
        with tempfile.TemporaryFile(dir=paths.PARTIAL) as file:
            rows = collect(datasets, params, ThumbnailFile(file), lines)
        keep_out = params.deduplicate.keep_out
        found = decide(rows, keep_out, lambda pairs: compare_rows(datasets, params, pairs))
        table = found.tabulate()
        write_table(table, folder / VERDICT_TABLE.name)
        write_table(_find_clean(found), folder / CLEAN_TABLE.name)
        _write_json(folder / "counts.json", _count(table, datasets))
        names = [dataset.id for dataset in datasets]
        shared = count(found.links, found.roles, names, rows.ranks == TRAIN, found.is_trained)
        _write_json(folder / "contamination.json", shared)
        write_table(_list_pairs(found), folder / PAIR_TABLE.name)


def _find_clean(found: Decisions) -> pa.Table:
    """For each evaluation row, which kind of copy of it is trained on, or null: CLEAN_SCHEMA, sorted by id."""
    is_evaluation = found.roles.is_evaluation
    copies = [link for link in found.links if link.tier in COPIES]
    tiers = find_contaminated(copies, found.roles, found.is_trained)
    return pa.table([found.rows.ids.filter(pa.array(is_evaluation)), tiers], schema=CLEAN_SCHEMA).sort_by("id")


def _list_pairs(found: Decisions) -> pa.Table:
    pairs = pick_pairs(found.links, found.roles, found.rows.ranks == TRAIN, found.is_trained)
    columns = [found.rows.ids.take(pa.array(pairs[name])) for name in ("row", "row_other")]
    columns.append(pa.array([list(Tier)[place].value for place in pairs["tier"]], pa.string()))
    columns += [pa.array(pairs["evidence"], pa.float32(), from_pandas=True), pa.array(pairs["is_kept"])]
    return pa.table(columns, schema=PAIR_SCHEMA)


def _count(table: pa.Table, datasets: Sequence[NormalizedDataset]) -> dict[str, dict[str, int]]:
    """Number of decisions by dataset and reason; an id begins with its dataset."""
    counts: dict[str, Counter[str]] = {dataset.id: Counter() for dataset in datasets}
    for row_id, reason in zip(table["id"].to_pylist(), table["reason"].to_pylist(), strict=True):
        counts[row_id.split("/", 1)[0]][reason] += 1
    return {name: dict(sorted(found.items())) for name, found in counts.items()}


def _write_json(path: Path, tree: object) -> None:
    path.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
