"""`compare`: two systems' answers to the same questions.

Both files are predictions.parquet of `evaluate`, or files that `score --output` wrote. Both systems get the same
resamples of images. For each image, the permutation test exchanges the two systems' answers to all its questions
with probability 0.5.
"""

import json as json_format
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Console

from openmedq.errors import SourceError
from openmedq.evaluation.metrics import METRICS
from openmedq.evaluation.metrics.intervals import (
    bound_difference,
    number_groups,
    permute,
    resample,
    score_all,
    sum_by_group,
)
from openmedq.evaluation.metrics.metric import Metric, Numbers
from openmedq.evaluation.metrics.predictions import GROUPINGS, equal, images_of, measure, prediction_schema
from openmedq.evaluation.terminal import make_table
from openmedq.storage.tables import read_table

CONFIDENCE = 0.95
SAME = ("source", "question", "reference", "alternatives")  # columns that must be equal for a common id
WHERE = ("source", "answer_type", *GROUPINGS)
MIN_ROWS = 10  # of a group that is compared

Tree = dict[str, Any]


def run(first: Path, second: Path, resamples: int, json: bool) -> None:
    """Print the difference of each metric, second minus first, and which system is better in which group of rows.

    Raises:
        SourceError: a file is not a table of predictions, or the files have no question in common.
    """
    ours, theirs, only = align(first, second)
    compared = compare(ours, theirs, num_resamples=resamples, seed=0)
    compared["only_in"] = dict(zip("AB", only, strict=True))
    show(Console(markup=False, highlight=False), compared, first, second)
    if json:
        print(json_format.dumps(compared))


def align(first: Path, second: Path) -> tuple[pa.Table, pa.Table, tuple[int, int]]:
    """The rows of both files with a common id, in the same order, and the numbers of the other rows."""
    tables = [_read(path) for path in (first, second)]
    ids = [table["id"] for table in tables]
    common = sorted(set(ids[0].to_pylist()) & set(ids[1].to_pylist()))
    if not common:
        raise SourceError(f"{first}, {second}: have no id in common; compare answers to the same questions")
    wanted = pa.array(common, pa.string())
    ours, theirs = (table.take(pc.index_in(wanted, table["id"])) for table in tables)
    if others := [name for name in SAME if not ours[name].equals(theirs[name])]:
        raise SourceError(
            f"{first}, {second}: rows of the same id differ in {' and '.join(others)}; the files are of different "
            "versions of the dataset; write both again from one version"
        )
    return ours, theirs, (len(ids[0]) - len(common), len(ids[1]) - len(common))


def _read(path: Path) -> pa.Table:
    if not path.exists():  # of any system: not necessarily the output of a stage
        raise SourceError(f"{path}: no such file; `dvc repro evaluate` and `score --output` write such tables")
    table = read_table(path) if path.suffix == ".parquet" else None
    if table is None or not table.schema.equals(prediction_schema()):
        raise SourceError(
            f"{path}: is not a table of predictions; `score FILE --dataset ID --output TABLE.parquet` makes one"
        )
    if len(table["id"].unique()) != len(table):
        raise SourceError(f"{path}: two rows have the same id; write the file again")
    return table


def compare(ours: pa.Table, theirs: pa.Table, *, num_resamples: int, seed: int) -> Tree:
    """`{"metrics": [...], "where": [...], "exact_match": {...}}` of two tables with the same questions in order.

    Each entry of a list has `num_rows`, `A`, `B`, `difference` (B minus A) with `low` and `high`, `p` and `better`,
    which is "A", "B", or "" if p is at least 1 - CONFIDENCE.
    """
    groups = number_groups(images_of(ours))
    (measured, columns), (others, _) = (measure(table, METRICS) for table in (ours, theirs))
    exact = next(number for number, metric in enumerate(METRICS) if metric.name == "exact_match")

    def compare_rows(mask: NDArray[np.bool_], metrics: Sequence[tuple[Metric, slice]]) -> list[Tree]:
        _, own = np.unique(groups[mask], return_inverse=True)
        a, b = (sum_by_group(each[mask], own) for each in (measured, others))
        rng = np.random.default_rng(seed)
        draws = resample([a, b], num_resamples, rng, columns)
        moved = permute(b - a, num_resamples, rng)
        exchanged = (draws[0][0] + moved, draws[1][0] - moved)
        compared = []
        for metric, place in metrics:
            pairs = ([side[:, place] for side in pair] for pair in (draws, exchanged))
            compared.append(_compare(metric, *pairs))
        return [row for row in compared if row]

    a, b = (side[:, columns[exact].start] == 1 for side in (measured, others))
    wins = {"both": a & b, "only_A": a & ~b, "only_B": b & ~a, "neither": ~a & ~b}
    return {
        "num_rows": len(ours),
        "num_images": int(groups.max()) + 1,
        "confidence": CONFIDENCE,
        "metrics": compare_rows(np.ones(len(ours), dtype=bool), list(zip(METRICS, columns, strict=True))),
        "where": [
            {"group": name, "value": value, **each}
            for name, value, mask in _list_groups(ours)
            for each in compare_rows(mask, [(METRICS[exact], columns[exact])])
        ],
        "exact_match": {name: int(mask.sum()) for name, mask in wins.items()},
    }


def _list_groups(rows: pa.Table) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    for name in WHERE:
        values = sorted(filter(None, rows[name].unique().to_pylist()))
        masks = ((value, equal(rows[name], value)) for value in values)
        yield from ((name, value, mask) for value, mask in masks if len(values) > 1 and mask.sum() >= MIN_ROWS)


def _compare(metric: Metric, draws: Sequence[Numbers], exchanged: Sequence[Numbers]) -> Tree:
    """Compare A and B in one metric, given their sums over all rows, then over each resample (`draws`) or exchange.

    {} if no row counts.
    """
    (a, b), (moved_a, moved_b) = ([score_all(metric, side) for side in pair] for pair in (draws, exchanged))
    found = bound_difference(b - a, moved_b - moved_a, CONFIDENCE)
    if "difference" not in found:
        return {}
    row = {"name": metric.name, "title": metric.title, "num_rows": int(draws[0][0, -1])}
    row |= {"A": round(float(a[0]), 4), "B": round(float(b[0]), 4)}
    row |= {name: round(value, 5 if name == "p" else 4) for name, value in found.items()}
    better = ("B" if found["difference"] > 0 else "A") if found["p"] < 1 - CONFIDENCE else ""
    return {**row, "better": better}


def show(console: Console, compared: Tree, first: Path, second: Path) -> None:
    """Print the comparison, without texts of records."""
    lines = [f"A: {first}", f"B: {second}", f"{compared['num_rows']:,} questions on {compared['num_images']:,} images"]
    lines += [f"not compared: {number:,} rows only in {name}" for name, number in compared["only_in"].items() if number]
    wins = compared["exact_match"]
    lines.append(
        f"right by exact match: both {wins['both']:,}, only A {wins['only_A']:,}, only B {wins['only_B']:,}, "
        f"neither {wins['neither']:,}"
    )
    console.print("\n".join(lines))
    headers = ("rows", "A", "B", "B - A", "p", "better")
    table = make_table("Scores, percent", "metric", *headers)
    for each in compared["metrics"]:
        table.add_row(each["title"], *_cells(each))
    console.print(table)
    if compared["where"]:
        table = make_table("Exact match by group; p is not corrected for the number of groups", "group", *headers)
        for each in compared["where"]:
            table.add_row(f"{each['group'].replace('_', ' ')}: {each['value']}", *_cells(each))
        console.print(table)


def _cells(each: Tree) -> tuple[str, ...]:
    bounds = f" ({each['low']:+.1f} to {each['high']:+.1f})" if "low" in each else ""
    numbers = (f"{each['num_rows']:,}", f"{each['A']:.1f}", f"{each['B']:.1f}", f"{each['difference']:+.1f}{bounds}")
    return (*numbers, f"{each['p']:.4f}", each["better"] or "-")
