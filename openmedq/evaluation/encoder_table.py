"""Scores of encoders on the benchmarks with intervals, and their paired comparison, from their predictions alone.

The bootstrap draws patients with all their rows, or images if a dataset names no patients. Scores are means over the
seeds, for all rows and for each resample, so the intervals are those of the mean. Benchmarks are resampled
independently of each other.

A resample can lack all rows of a rare class. The class then counts with its score of all rows, so that each resample
averages over the same classes. A class with the rows of one patient therefore adds no width to an interval.
"""

import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from openmedq.evaluation.metrics import CLASSIFICATION_METRICS
from openmedq.evaluation.metrics.classification import auroc, fill, mean_of_known
from openmedq.evaluation.metrics.intervals import (
    bound,
    bound_difference,
    count_draws,
    permute,
    resample,
    sum_by_group,
)
from openmedq.evaluation.metrics.metric import Metric, Numbers, describe, measure_rows

PREDICTION_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), False) for name in ("benchmark", "encoder", "method")),
        pa.field("seed", pa.int64(), False),
        pa.field("epoch", pa.int32()),  # whose weights predict, from 1; null for frozen encoders
        pa.field("id", pa.string(), False),
        pa.field("group", pa.int32(), False),  # of the row's patient, or else of its image, in this benchmark
        *(pa.field(name, pa.list_(pa.string()), False) for name in ("labels", "predictions")),
        pa.field("probabilities", pa.list_(pa.float32()), False),  # (m,), in the card's order of classes
    ]
)
FINE_TUNED = "fine_tuned"  # the method of transfer; the others are those of `probes`
AUROC = "auroc"  # no function of sums over rows, so no `Metric`

NUM_RESAMPLES = 2000  # of a comparison
CONFIDENCE = 0.95

Tree = dict[str, Any]


def describe_metrics() -> list[Mapping[str, Any]]:
    """The metrics of classes, for readers of metrics.json."""
    (one,) = describe(CLASSIFICATION_METRICS[:1])
    return [*describe(CLASSIFICATION_METRICS), {**one, "name": AUROC, "title": "AUROC", "is_headline": False}]


def measure(predictions: pa.Table, classes: Sequence[str], num_resamples: int) -> dict[str, Numbers]:
    """Each metric of one encoder, method and benchmark, the mean over seeds: of the rows, then of each resample.

    Args:
        predictions: of PREDICTION_SCHEMA, with the same rows in the same order for each seed.
        classes: those of the benchmark, in the order of the probabilities.
        num_resamples: number of resamples; there are none of a single group.

    Returns:
        Arrays (1 + resamples,) by metric, and `auroc_of`: (1 + resamples, classes). NaN where a score is undefined.
    """
    runs = _split_seeds(predictions)
    groups, num_groups = _read_groups(runs[0])
    sums = [_sum(run, classes) for run in runs]
    marks = np.array([[name in own for name in classes] for own in runs[0]["labels"].to_pylist()])
    probabilities = [np.array(run["probabilities"].to_pylist()) for run in runs]
    drawn: list[list[Numbers]] = []  # by block of draws and seed
    areas = []
    with threadpool_limits(1):  # narrow products, as in `resample`
        for draws in _draw(num_groups, num_resamples, _seed(predictions)):
            drawn.append([draws @ own for own in sums])
            areas.append(np.mean([auroc(marks, each, groups, draws) for each in probabilities], axis=0))
    of_seeds = [np.concatenate(parts) for parts in zip(*drawn, strict=True)]
    found = {metric.name: _score(metric, of_seeds) for metric in CLASSIFICATION_METRICS}
    of_classes = np.concatenate(areas)
    mean = mean_of_known(fill(of_classes, of_classes[0], np.zeros(len(classes), bool)))
    return {**found, AUROC: mean, "auroc_of": of_classes}


def average(measured: Sequence[Mapping[str, Numbers]]) -> dict[str, Numbers]:
    """The mean over benchmarks of what `measure` returns, for each metric that all of them have."""
    shared = [
        name for name in measured[0] if name != "auroc_of" and all(np.isfinite(each[name][0]) for each in measured)
    ]
    return {name: np.mean([each[name] for each in measured], axis=0) for name in shared}


def bound_all(measured: Mapping[str, Numbers], confidence: float) -> dict[str, float]:
    """`{name, name_low, name_high}` of each metric that `measure` or `average` returns, if it is defined."""
    scores: dict[str, float] = {}
    for name, values in measured.items():
        if name != "auroc_of":
            scores |= bound(name, values[0], values[1:], confidence)
    return scores


def compare(
    predictions: Mapping[str, pa.Table],
    reference: str,
    averaged: Collection[str] | None = None,
    *,
    num_resamples: int = NUM_RESAMPLES,
) -> Tree:
    """Compare an encoder with each other one on the benchmarks that both have, by macro-F1.

    Intervals are of the same resamples for both. The permutation test exchanges the predictions of all seeds for a
    group of rows with equal chance. `p_holm` is corrected for the number of benchmarks (Holm, 1979).

    Args:
        predictions: of PREDICTION_SCHEMA, by encoder.
        reference: the encoder whose differences to the others are computed: positive where it is better.
        averaged: the benchmarks of the mean; None: all.
        num_resamples: number of resamples, and of exchanges.

    Returns:
        For each other encoder `{"benchmarks": {name: {"difference", "low", "high", "p", "p_holm", "num_rows",
        "num_groups"}}, "mean": {"difference", "low", "high", "p"}, "left_out": [benchmarks]}`. Left out are benchmarks
        of which the two have other rows or other seeds; without any to average, there is no mean.
    """
    tuned = {name: table.filter(pc.equal(table["method"], FINE_TUNED)) for name, table in predictions.items()}
    return {
        name: _compare(tuned[reference], table, averaged, num_resamples)
        for name, table in tuned.items()
        if name != reference
    }


def _compare(ours: pa.Table, theirs: pa.Table, averaged: Collection[str] | None, num_resamples: int) -> Tree:
    compared: Tree = {"benchmarks": {}, "left_out": []}
    drawn, moved = [], []
    for name in sorted(set(ours["benchmark"].unique().to_pylist()) | set(theirs["benchmark"].unique().to_pylist())):
        pair = [table.filter(pc.equal(table["benchmark"], name)) for table in (ours, theirs)]
        if not all(pair[0].select([key]).equals(pair[1].select([key])) for key in ("seed", "id", "group", "labels")):
            compared["left_out"].append(name)
            continue
        differences, exchanged = _draw_differences(pair[0], pair[1], num_resamples)
        num_groups = _read_groups(pair[0])[1]
        row = {"num_rows": len(_split_seeds(pair[0])[0]), "num_groups": num_groups}
        compared["benchmarks"][name] = bound_difference(differences, exchanged, CONFIDENCE) | row
        if averaged is None or name in averaged:
            drawn.append(differences)
            moved.append(exchanged)
    rows = list(compared["benchmarks"].values())
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    if drawn:
        num = min(map(len, drawn))  # a benchmark of one group has no resamples
        means = np.mean([each[:num] for each in drawn], axis=0)
        compared["mean"] = bound_difference(means, np.mean(moved, axis=0), CONFIDENCE)
    return compared


def _draw_differences(ours: pa.Table, theirs: pa.Table, num_resamples: int) -> tuple[Numbers, Numbers]:
    """Differences of the means over seeds: of the rows and each resample (1 + N,), and of each exchange (N,)."""
    metric = CLASSIFICATION_METRICS[0]
    texts = [table[column].to_pylist() for table in (ours, theirs) for column in ("labels", "predictions")]
    classes = sorted({name for rows in texts for own in rows for name in own})
    runs = [_split_seeds(table) for table in (ours, theirs)]
    a, b = (np.hstack([_sum(run, classes) for run in side]) for side in runs)  # (groups, seeds K)
    rng = np.random.default_rng(_seed(ours))

    def subtract(first: Numbers, second: Numbers, *, are_draws: bool) -> Numbers:
        sums = (np.split(each, len(runs[0]), axis=1) for each in (first, second))
        one, other = (_score(metric, own, are_draws=are_draws) for own in sums)
        return one - other

    draws_a, draws_b = resample([a, b], num_resamples if len(a) > 1 else 0, rng)  # one group: all equal
    moved = permute(a - b, num_resamples, rng)
    exchanged = subtract(draws_a[:1] - moved, draws_b[:1] + moved, are_draws=False)
    return subtract(draws_a, draws_b, are_draws=True), exchanged


def holm(ps: Sequence[float]) -> list[float]:
    """The p of each of several tests, corrected for their number: 1 - p bounds the chance of any false one."""
    corrected, lowest = [0.0] * len(ps), 0.0
    for num_smaller, number in enumerate(np.argsort(ps, kind="stable").tolist()):
        lowest = max(lowest, min(1.0, (len(ps) - num_smaller) * ps[number]))
        corrected[number] = lowest
    return corrected


def _seed(predictions: pa.Table) -> int:
    """The seed of the draws: the same for all encoders, and different for each benchmark."""
    return zlib.crc32(predictions["benchmark"][0].as_py().encode())


def _draw(num_groups: int, num_resamples: int, seed: int) -> Iterator[Numbers]:
    """Yield how often each group is drawn, (draws, groups): once each, then blocks of resamples."""
    yield np.ones((1, num_groups))
    if num_groups > 1:
        yield from (counts for _, counts in count_draws(num_groups, num_resamples, np.random.default_rng(seed)))


def _split_seeds(predictions: pa.Table) -> list[pa.Table]:
    seeds = predictions["seed"].unique().to_pylist()
    return [predictions.filter(pc.equal(predictions["seed"], seed)) for seed in seeds]


def _read_groups(run: pa.Table) -> tuple[NDArray[np.intp], int]:
    groups = run["group"].to_numpy().astype(np.intp)
    return groups, int(groups.max()) + 1


def _sum(run: pa.Table, classes: Sequence[str]) -> Numbers:
    """(groups, 3 m + 2): the outcomes (see `count_outcomes`) of the rows of each group, and the number of rows."""
    groups, num_groups = _read_groups(run)
    pairs = zip(*(map(tuple, run[column].to_pylist()) for column in ("labels", "predictions")), strict=True)
    (outcomes,) = measure_rows(CLASSIFICATION_METRICS[:1], [(*pair, tuple(classes)) for pair in pairs])
    return sum_by_group(np.hstack([outcomes, np.ones((len(run), 1))]), groups, num_groups)


def _score(metric: Metric, sums: Sequence[Numbers], *, are_draws: bool = True) -> Numbers:
    """The mean of a metric over classes and seeds, (N,), of sums (N, 3 m + 2) of each seed.

    If `are_draws`, the sums are of draws of the rows, and the first draw has each row once.
    """
    means = []
    for own in sums:
        of_classes = metric.of_sums(own[:, :-1], own[:, -1])
        if are_draws:
            true_positives, _, false_negatives = np.split(own[:, :-2], 3, axis=1)
            of_classes = fill(of_classes, of_classes[0], true_positives + false_negatives == 0)
        means.append(mean_of_known(of_classes))
    mean: Numbers = np.mean(means, axis=0)
    return mean
