"""Stage transfer: fine-tune an image encoder with a linear head on the benchmarks, which are not trained on.

All encoders of `transfer.encoders` get the same recipe (`classifier.py`), each in its own DVC node; `probes.py` scores
their frozen features beside it. If a row may have
several classes, those with a probability above `transfer.threshold` are predicted. A benchmark without a row in the mix
is skipped with a log message.

A stage that was killed goes on: predictions of a finished benchmark and seed are kept until the stage ends, and are
used again if the encoder's weights, rows, settings and code are the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import transformers

from openmedq import evaluation, paths
from openmedq import model as models
from openmedq.config import OURS, SCRATCH, Params
from openmedq.datasets import catalogue
from openmedq.errors import ParamsError, StaleError
from openmedq.evaluation import probes
from openmedq.evaluation.benchmark import Benchmark, Part, Rows
from openmedq.evaluation.classifier import fine_tune, predict
from openmedq.evaluation.metrics import CLASSIFICATION_METRICS
from openmedq.evaluation.metrics.intervals import bootstrap
from openmedq.evaluation.metrics.metric import describe, flatten, tabulate
from openmedq.evaluation.towers import own, published
from openmedq.evaluation.towers.tower import Tower
from openmedq.model.model import pick_device
from openmedq.storage.progress import Log, progress
from openmedq.storage.publish import publish, remove
from openmedq.storage.tables import read_index, read_table

Tree = dict[str, Any]

PREDICTIONS = "predictions.parquet"
METRICS = "metrics.json"
KEPT = paths.PARTIAL  # transfer-<encoder>/<benchmark>-<seed>-<digest>.parquet, until the stage ends
PREDICTION_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), False) for name in ("benchmark", "encoder")),
        pa.field("seed", pa.int64(), False),
        pa.field("id", pa.string(), False),
        *(pa.field(name, pa.list_(pa.string()), False) for name in ("labels", "predictions")),
        pa.field("probabilities", pa.list_(pa.float32()), False),  # (m,), in the card's order of classes
    ]
)

logger = logging.getLogger(__name__)


def run(params: Params, encoder: str, log: Log) -> None:
    """Write predictions.parquet and metrics.json to data/transfer/<encoder>, and log the mean scores.

    Raises:
        ModelError: the encoder can't be loaded; a loss is not finite.
        ParamsError: `transfer.encoders` has no such encoder.
        SourceError: a benchmark has no train or test rows, or not exactly one label where its card states one.
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
    for name in settings.benchmarks:
        rows = index.filter(pc.equal(index["source"], name))
        if not len(rows):
            logger.info("%s: skipped, because it has no row in the mix", name)
            continue
        benchmark = Benchmark(cards[name], rows, params, tower.preprocessing)
        num_rows = settings.num_epochs * min(len(benchmark.train), settings.max_rows or len(benchmark.train))
        with progress(f"{encoder}: fine-tuning on {name}", num_rows * len(settings.seeds)) as advance:
            own_tables = []
            for seed in settings.seeds:
                if encoder == SCRATCH:
                    tower = build(seed)
                own_tables.append(_predict(benchmark, tower, encoder, seed, params, advance))
        tables += own_tables
        sizes = {"num_train_rows": len(benchmark.train), "num_test_rows": len(benchmark.test)}
        scores[name] = {**sizes, encoder: _score(benchmark, own_tables, params) | _probe(benchmark, tower, params)}
    metrics: Tree = {}
    if scores:
        metrics = {
            "metrics": describe(CLASSIFICATION_METRICS),
            **scores,
            "mean": {encoder: _mean_of([each[encoder] for each in scores.values()])},
        }
    folder = paths.TRANSFER / encoder
    with publish(folder / PREDICTIONS) as path:
        pq.write_table(pa.concat_tables(tables), path, compression="zstd")
    with publish(folder / METRICS) as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    log(flatten({"mean": metrics.get("mean", {})}), None)
    log.table("scores", tabulate(metrics))
    remove(KEPT / f"transfer-{encoder}")


def _choose(params: Params, encoder: str) -> Callable[[int], Tower]:
    """Return a function that builds the encoder, given a seed."""
    device = pick_device(params.execution.device)
    if encoder == OURS:
        return lambda _: own.load(device)
    if encoder == SCRATCH:
        return lambda seed: own.draw(params.train.vision, seed).to(device)
    where = f"transfer.encoders.{encoder}"
    return lambda _: published.load(params.transfer.encoders[encoder], where).to(device)


def _mean_of(scores: Sequence[Tree]) -> Tree:
    """Return each metric's mean over the benchmarks, without bounds: intervals of benchmarks cannot be averaged."""
    return {metric.name: mean(each[metric.name] for each in scores) for metric in CLASSIFICATION_METRICS}


def _predict(
    benchmark: Benchmark, tower: Tower, encoder: str, seed: int, params: Params, advance: Callable[[int], None]
) -> pa.Table:
    """Fine-tune the encoder and predict the test rows, unless an earlier process did: a table of PREDICTION_SCHEMA."""
    settings = params.transfer
    picked = benchmark.pick(settings.max_rows, seed)
    digest = _digest(benchmark, tower, params)
    path = KEPT / f"transfer-{encoder}" / f"{benchmark.name}-{seed}-{digest[:32]}.parquet"
    try:
        table = read_table(path, PREDICTION_SCHEMA)
    except StaleError:  # there is none
        pass
    else:
        logger.info("%s: seed %d is done, by an earlier process", benchmark.name, seed)
        advance(settings.num_epochs * len(picked))
        return table
    num_updates = settings.num_epochs * -(-len(picked) // settings.batch_size)
    batches = benchmark.train.shuffle(picked, settings.batch_size, settings.num_epochs, seed)
    targets = benchmark.targets(benchmark.train.labels)
    num_classes = len(benchmark.classes)
    model = fine_tune(tower, benchmark.train.read(batches), targets, num_updates, num_classes, settings, seed, advance)
    test = benchmark.test
    predicted = predict(model, test.read(_in_order(test, settings.batch_size)), is_multi_label=benchmark.is_multi_label)
    rows = zip(test.ids, test.labels, predicted, strict=True)
    records = [
        {
            "benchmark": benchmark.name,
            "encoder": encoder,
            "seed": seed,
            "id": row_id,
            "labels": labels,
            "predictions": benchmark.decide(probabilities, settings.threshold),
            "probabilities": probabilities,
        }
        for row_id, labels, probabilities in rows
    ]
    table = pa.Table.from_pylist(records, PREDICTION_SCHEMA)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(path)
    return table


def _probe(benchmark: Benchmark, tower: Tower, params: Params) -> Tree:
    """Scores of the frozen encoder's features, by the name of the companion."""
    settings, train, test = params.transfer, benchmark.train, benchmark.test
    picked = benchmark.pick(settings.max_rows, settings.seeds[0])
    parts = (picked[start : start + settings.batch_size] for start in range(0, len(picked), settings.batch_size))
    targets = probes.mark([train.labels[row] for row in picked.tolist()], benchmark.classes)
    return probes.compare(
        (probes.extract(tower, train.read(parts)), targets),
        probes.extract(tower, test.read(_in_order(test, settings.batch_size))),
        lambda probabilities: probes.score(
            test.labels, probabilities, benchmark.classes, lambda row: benchmark.decide(row, settings.threshold)
        ),
        settings.seeds,
        is_multi_label=benchmark.is_multi_label,
    )


def _in_order(part: Part, batch_size: int) -> Iterator[Rows]:
    return (np.arange(start, min(start + batch_size, len(part))) for start in range(0, len(part), batch_size))


def _digest(benchmark: Benchmark, tower: Tower, params: Params) -> str:
    """Digest what predictions follow from: rows, encoder, settings, code and versions."""
    digest = hashlib.sha256()
    settings = params.transfer.model_dump(mode="json", exclude={"encoders", "benchmarks", "seeds"})
    facts = [benchmark.train.digest, benchmark.test.digest, tower.preprocessing, settings, str(tower.network)]
    digest.update(json.dumps([*facts, torch.__version__, transformers.__version__]).encode())
    for package in (evaluation, models):
        for file in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(file.read_bytes())
    for name, tensor in sorted(tower.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _score(benchmark: Benchmark, tables: Sequence[pa.Table], params: Params) -> dict[str, float]:
    """Each metric with its interval, balanced accuracy and AUROC, the mean over seeds."""
    settings = params.transfer
    per_seed = []
    for table in tables:
        pairs = zip(table["labels"].to_pylist(), table["predictions"].to_pylist(), strict=True)
        rows = [(labels, predictions, benchmark.classes) for labels, predictions in pairs]
        scores = bootstrap(
            CLASSIFICATION_METRICS,
            [metric.measure(rows) for metric in CLASSIFICATION_METRICS],
            [patient or row for patient, row in zip(benchmark.test.patients, benchmark.test.ids, strict=True)],
            num_resamples=settings.num_resamples,
            confidence=settings.confidence,
            seed=0,
        )
        probabilities = np.array(table["probabilities"].to_pylist())
        more = probes.score(
            benchmark.test.labels,
            probabilities,
            benchmark.classes,
            lambda row: benchmark.decide(row, settings.threshold),
        )
        per_seed.append(more | scores)
    return {name: mean(each[name] for each in per_seed) for name in per_seed[0]}
