"""Stage transfer: fine-tune an image encoder with a linear head on the benchmarks, which are not trained on.

All encoders of `transfer.encoders` get the same recipe (`classifier.py`), each in its own DVC node; `probes.py`
predicts from their frozen features beside it. The epoch is picked by the loss of validation rows: no test row
influences it. If a row may have several classes, those with a probability above `transfer.threshold` are predicted. A
benchmark without a row in the mix is skipped with a log message. Means are over the published benchmarks, or over the
local ones if there is no other.

A stage that was killed resumes: predictions of a finished benchmark and seed are kept until the stage ends, and are
used again if the encoder's weights, rows, settings and code are the same.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from openmedq import paths
from openmedq.config import OURS, SCRATCH, Params
from openmedq.datasets import catalogue
from openmedq.errors import ModelError, ParamsError
from openmedq.evaluation import encoder_table, probes
from openmedq.evaluation.benchmark import Benchmark, cut
from openmedq.evaluation.classifier import Plan, fine_tune, predict
from openmedq.evaluation.encoder_table import FINE_TUNED, PREDICTION_SCHEMA
from openmedq.evaluation.kept import digest_tower, keep
from openmedq.evaluation.metrics.intervals import bound
from openmedq.evaluation.metrics.metric import Numbers, flatten, tabulate
from openmedq.evaluation.towers import own, published
from openmedq.evaluation.towers.tower import Tower
from openmedq.model.model import pick_device
from openmedq.storage.progress import Log, progress
from openmedq.storage.publish import publish, remove
from openmedq.storage.tables import read_index, write_table

Tree = dict[str, Any]

PREDICTIONS = "predictions.parquet"
METRICS = "metrics.json"
KEPT = paths.PARTIAL  # transfer-<encoder>/<benchmark>-*, until the stage ends

logger = logging.getLogger(__name__)


def run(params: Params, encoder: str, log: Log) -> None:
    """Write predictions.parquet and metrics.json to data/transfer/<encoder>, and log the mean scores.

    Raises:
        ModelError: the encoder can't be loaded; a loss is not finite.
        ParamsError: `transfer.encoders` has no such encoder.
        SourceError: a benchmark has no train, validation or test rows, or a row has other labels than its card states.
    """
    settings = params.transfer
    if encoder not in settings.encoders:
        raise ParamsError(
            f"params.yaml: transfer.encoders: no encoder {encoder!r}; there are {', '.join(settings.encoders)}"
        )
    cards = catalogue.read(paths.CATALOGUE)
    torch.use_deterministic_algorithms(True, warn_only=True)
    index = read_index()
    build = _choose(params, encoder)
    tower = build(settings.seeds[0])
    tables: list[pa.Table] = [PREDICTION_SCHEMA.empty_table()]
    scores: dict[str, Tree] = {}
    measured: dict[str, dict[str, Mapping[str, Numbers]]] = {}  # by method and benchmark
    for name in settings.benchmarks:
        rows = index.filter(pc.equal(index["source"], name))
        if not len(rows):
            logger.info("%s: skipped, because it has no row in the mix", name)
            continue
        benchmark = Benchmark(cards[name], rows, params, tower.preprocessing)
        predictions = pa.concat_tables(_predict_all(benchmark, tower, encoder, params, build))
        tables.append(predictions)
        found: dict[str, Mapping[str, Numbers]] = {}
        for method in predictions["method"].unique().to_pylist():
            of_method = predictions.filter(pc.equal(predictions["method"], method))
            found[method] = encoder_table.measure(of_method, benchmark.classes, settings.num_resamples)
            measured.setdefault(method, {})[name] = found[method]
        scores[name] = _count(benchmark) | {encoder: _score(benchmark, found, predictions, params)}
    metrics: Tree = {}
    if scores:
        # The paper's mean is shown beside ours, so no local dataset is in it.
        averaged = [name for name in scores if not cards[name].local] or list(scores)
        means = {}
        for method, by_name in measured.items():
            mean = encoder_table.average([by_name[name] for name in averaged])
            means[method] = encoder_table.bound_all(mean, settings.confidence)
        metrics = {
            "metrics": encoder_table.describe_metrics(),
            **scores,
            "mean": {encoder: means.pop(FINE_TUNED)},
            "mean_of_frozen": {encoder: means},
        }
    folder = paths.TRANSFER / encoder
    with publish(folder / PREDICTIONS) as path:
        write_table(pa.concat_tables(tables), path)
    with publish(folder / METRICS) as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    log(flatten({"mean": metrics.get("mean", {})}), None)
    log.table("scores", tabulate(metrics))
    remove(KEPT / f"transfer-{encoder}")


def _choose(params: Params, encoder: str) -> Callable[[int], Tower]:
    """Return a function that builds the encoder, given a seed."""
    device, side = pick_device(params.execution.device), params.transfer.image_size_px
    sized = f"transfer.image_size_px: {encoder}"
    if encoder == SCRATCH:
        vision = params.train.vision.model_copy(update={"image_size_px": side or params.train.vision.image_size_px})
        return lambda seed: own.draw(vision, seed, "train.vision" if side is None else sized).to(device)
    where = f"transfer.encoders.{encoder}"

    def build(_: int) -> Tower:
        if encoder == OURS:
            tower = own.load(device)
        else:
            tower = published.load(params.transfer.encoders[encoder], where).to(device)
        return tower if side is None else tower.resize(side, sized)

    return build


def _predict_all(
    benchmark: Benchmark, tower: Tower, encoder: str, params: Params, build: Callable[[int], Tower]
) -> list[pa.Table]:
    """The predictions of the test rows by all methods and seeds, unless an earlier process made them."""
    settings = params.transfer
    folder, title = KEPT / f"transfer-{encoder}", f"{encoder}: {benchmark.name}"
    facts: list[Any] = [
        [benchmark.train.digest, benchmark.validated.tolist(), benchmark.test.digest],
        [params.train.precision, settings.model_dump(mode="json", exclude={"encoders", "benchmarks", "seeds"})],
    ]
    num_fitted = min(len(benchmark.fitted), settings.max_rows or len(benchmark.fitted))
    tables = []
    with progress(f"{title}: fine-tuning", settings.num_epochs * num_fitted * len(settings.seeds)) as advance:
        for seed in settings.seeds:
            drawn = build(seed) if encoder == SCRATCH else tower

            def make(seed: int = seed, drawn: Tower = drawn) -> pa.Table:
                found, epoch = _fine_tune(benchmark, drawn, seed, params, advance)
                return _tabulate(benchmark, encoder, FINE_TUNED, seed, epoch, found, params)

            own = [*facts, digest_tower(drawn)]
            tables.append(keep(folder / f"{benchmark.name}-{seed}", own, PREDICTION_SCHEMA, make))

    def make_frozen() -> pa.Table:
        picked = benchmark.pick(benchmark.fitted, settings.max_rows, settings.seeds[0])
        tested = np.arange(len(benchmark.test))
        with progress(f"{title}: features", len(picked) + len(tested)) as advance:
            train, test = (
                probes.extract(tower, part.read(cut(rows, settings.batch_size)), len(rows), advance)
                for part, rows in ((benchmark.train, picked), (benchmark.test, tested))
            )
        targets = probes.mark([benchmark.train.labels[row] for row in picked.tolist()], benchmark.classes)
        found = probes.predict((train, targets), test, settings.seeds, is_multi_label=benchmark.is_multi_label)
        own_tables = [_tabulate(benchmark, encoder, *each[:2], None, each[2].tolist(), params) for each in found]
        return pa.concat_tables(own_tables)

    facts += [settings.seeds, digest_tower(tower)]
    return [*tables, keep(folder / f"{benchmark.name}-frozen", facts, PREDICTION_SCHEMA, make_frozen)]


def _fine_tune(
    benchmark: Benchmark, tower: Tower, seed: int, params: Params, advance: Callable[[int], None]
) -> tuple[list[list[float]], int]:
    """Probabilities (rows, m) of the test rows, and the epoch whose weights give them."""
    settings, train, test = params.transfer, benchmark.train, benchmark.test
    picked = benchmark.pick(benchmark.fitted, settings.max_rows, seed)
    validation = cut(benchmark.pick(benchmark.validated, settings.max_rows, 0), settings.batch_size)
    epochs = islice(train.shuffle(picked, settings.batch_size, seed), settings.num_epochs)
    batches = chain.from_iterable([*epoch, *validation] for epoch in epochs)
    num_updates = -(-len(picked) // settings.batch_size)
    targets = benchmark.targets(train.labels)
    try:
        with closing(train.read(batches)) as read:  # ends the loader processes, before the next ones start
            plan = Plan(read, settings.num_epochs, num_updates, len(validation), benchmark.fitted)
            is_bf16 = params.train.precision == "bf16"
            num_classes = len(benchmark.classes)
            model, epoch = fine_tune(tower, plan, targets, num_classes, settings, seed, advance, is_bf16=is_bf16)
    except ModelError as error:
        raise ModelError(f"transfer: {benchmark.name}, seed {seed}: {error}") from None
    tested = cut(np.arange(len(test)), settings.batch_size)
    return predict(model, test.read(tested), is_multi_label=benchmark.is_multi_label), epoch


def _tabulate(
    benchmark: Benchmark,
    encoder: str,
    method: str,
    seed: int,
    epoch: int | None,
    found: Sequence[Sequence[float]],
    params: Params,
) -> pa.Table:
    """The predictions of the test rows as a table of PREDICTION_SCHEMA; classes are decided by the stored numbers."""
    test, num_rows = benchmark.test, len(benchmark.test)
    probabilities = np.asarray(found, np.float32).tolist()
    columns = {
        "benchmark": [benchmark.name] * num_rows,
        "encoder": [encoder] * num_rows,
        "method": [method] * num_rows,
        "seed": [seed] * num_rows,
        "epoch": [epoch] * num_rows,
        "id": test.ids,
        "group": test.clusters,
        "labels": test.labels,
        "predictions": [benchmark.decide(row, params.transfer.threshold) for row in probabilities],
        "probabilities": probabilities,
    }
    return pa.table(columns, PREDICTION_SCHEMA)


def _count(benchmark: Benchmark) -> Tree:
    """Numbers of rows, and the classes without some: their scores are left out of the means."""
    found: Tree = {
        "num_train_rows": len(benchmark.fitted),
        "num_validation_rows": len(benchmark.validated),
        "num_test_rows": len(benchmark.test),
    }
    train = [benchmark.train.labels[row] for row in benchmark.fitted.tolist()]
    for name, labels in (("train", train), ("test", benchmark.test.labels)):
        absent = sorted(set(benchmark.classes).difference(*labels))
        found[f"classes_without_{name}_rows"] = absent
        if absent:
            logger.info("%s: no %s row has the class %s", benchmark.name, name, ", ".join(absent))
    return found


def _score(
    benchmark: Benchmark, found: Mapping[str, Mapping[str, Numbers]], predictions: pa.Table, params: Params
) -> Tree:
    """Each metric with its interval, the mean over seeds; the same of the companions, by name; AUROC of each class."""
    confidence = params.transfer.confidence
    methods = {method: encoder_table.bound_all(measured, confidence) for method, measured in found.items()}
    scores: Tree = methods.pop(FINE_TUNED) | methods
    tuned = predictions.filter(pc.equal(predictions["method"], FINE_TUNED))
    epochs = dict(zip(tuned["seed"].to_pylist(), tuned["epoch"].to_pylist(), strict=True))
    scores["best_epochs"] = list(epochs.values())  # by seed
    if benchmark.is_multi_label:
        columns = zip(benchmark.classes, found[FINE_TUNED]["auroc_of"].T, strict=True)
        of_class = {name: bound("auroc", column[0], column[1:], confidence) for name, column in columns}
        scores["auroc_of"] = {name: each for name, each in of_class.items() if each}
    return scores
