"""Stage transfer: fine-tune image encoders with a linear head on the benchmarks, which are not trained on.

All encoders of ENCODERS get the same recipe (`classifier.py`). The card of a benchmark names its train and test
splits; a benchmark without published splits is divided by patients and image fingerprints. If a row may have several
classes, those with a probability above `transfer.threshold` are predicted. A benchmark without a row in the mix is
skipped with a log message.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from transformers import AutoModel, LlavaForConditionalGeneration, PreTrainedModel

from openmedq import paths
from openmedq.config import Params
from openmedq.curate.division import divide
from openmedq.curate.images import group_images
from openmedq.datasets import catalogue
from openmedq.datasets.card import Card
from openmedq.errors import SourceError
from openmedq.evaluation.classifier import fine_tune, predict
from openmedq.evaluation.metrics import CLASSIFICATION_METRICS
from openmedq.evaluation.metrics.intervals import bootstrap
from openmedq.evaluation.metrics.metric import describe, flatten, tabulate
from openmedq.model.model import load, pick_device
from openmedq.model.pixels import decode, normalize
from openmedq.schema import Sample
from openmedq.storage.progress import Log, progress
from openmedq.storage.publish import publish
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_index

Tree = dict[str, Any]

PREDICTIONS = paths.TRANSFER / "predictions.parquet"
METRICS = paths.TRANSFER / "metrics.json"
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


def _build_scratch(model: LlavaForConditionalGeneration, seed: int) -> PreTrainedModel:
    """The architecture of the trained encoder with random weights."""
    torch.manual_seed(seed)
    encoder: PreTrainedModel = AutoModel.from_config(model.config.vision_config)
    return encoder


# The encoders to compare, by their name in predictions, metrics.json and the report. Each value is a function of the
# trained model and a seed. It returns an encoder that takes the pixels of the model's image processor and has a class
# token, as in `openmedq.model.encoders`. The report compares the first encoder with the others.
ENCODERS: dict[str, Callable[[LlavaForConditionalGeneration, int], PreTrainedModel]] = {
    "trained": lambda model, _: model.model.vision_tower,
    "scratch": _build_scratch,
}


def run(params: Params, log: Log) -> None:
    """Write predictions.parquet (PREDICTION_SCHEMA) and metrics.json to data/transfer, and log the mean scores.

    Raises:
        SourceError: a benchmark has no train or test rows, or not exactly one label where its card states one.
    """
    settings = params.transfer
    cards = catalogue.read(paths.CATALOGUE)
    torch.use_deterministic_algorithms(True, warn_only=True)
    index = read_index()
    device = pick_device(params.execution.device)
    model, processor = load(paths.MODEL, device)

    records: list[Tree] = []
    scores: dict[str, Tree] = {}
    for name in settings.benchmarks:
        rows = index.filter(pc.equal(index["source"], name))
        if not len(rows):
            logger.info("%s: skipped, because it has no row in the mix", name)
            continue
        benchmark = Benchmark(name, cards[name], rows, processor.image_processor, params)
        with progress(f"fine-tuning on {name}", benchmark.num_updated_rows) as advance:
            for encoder, build in ENCODERS.items():
                for seed in settings.seeds:
                    records += benchmark.predict(build(model, seed).to(device), encoder, seed, advance)
        scores[name] = benchmark.score(records)
    metrics: Tree = {}
    if scores:
        means = {encoder: _mean_of([each[encoder] for each in scores.values()]) for encoder in ENCODERS}
        metrics = {"metrics": describe(CLASSIFICATION_METRICS), **scores, "mean": means}
    with publish(PREDICTIONS) as path:
        pq.write_table(pa.Table.from_pylist(records, PREDICTION_SCHEMA), path, compression="zstd")
    with publish(METRICS) as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    log(flatten({"mean": metrics.get("mean", {})}), None)
    log.table("scores", tabulate(metrics))


def _mean_of(scores: Sequence[Tree]) -> Tree:
    """Return each metric's mean over the benchmarks, without bounds: intervals of benchmarks cannot be averaged."""
    return {metric.name: mean(each[metric.name] for each in scores) for metric in CLASSIFICATION_METRICS}


class Benchmark:
    """One classification dataset: its train and test rows, predictions and scores."""

    def __init__(self, name: str, card: Card, rows: pa.Table, image_processor: Any, params: Params):
        self.name, self.classes, self.settings = name, list(card.classes), params.transfer
        self.is_multi_label = card.is_multi_label
        self._image_processor = image_processor
        if card.fitted:
            train, test = (_of_splits(name, rows, splits) for splits in (card.fitted, card.scored))
        else:
            train, test = _divide(name, rows, params)
        self._train, self._test = self._read(train), self._read(test)

    @property
    def num_updated_rows(self) -> int:
        """Number of training rows that all fine-tuning runs process in total."""
        num_rows = min(len(self._train), self.settings.max_rows or len(self._train))
        return len(ENCODERS) * len(self.settings.seeds) * self.settings.num_epochs * num_rows

    def predict(self, encoder: PreTrainedModel, name: str, seed: int, advance: Callable[[int], None]) -> list[Tree]:
        """Fine-tune the encoder and predict the test rows: rows of PREDICTION_SCHEMA."""
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(len(self._train), generator=generator)[: self.settings.max_rows].tolist()
        train = [self._train[row] for row in sorted(drawn)]
        targets = self._targets(train)
        model = fine_tune(encoder, self._reader(train), targets, len(self.classes), self.settings, seed, advance)
        predicted = predict(
            model,
            self._reader(self._test),
            len(self._test),
            self.settings.batch_size,
            is_multi_label=self.is_multi_label,
        )
        return [
            {
                "benchmark": self.name,
                "encoder": name,
                "seed": seed,
                "id": sample.id,
                "labels": list(sample.labels),
                "predictions": self._decide(probabilities),
                "probabilities": probabilities,
            }
            for sample, probabilities in zip(self._test, predicted, strict=True)
        ]

    def score(self, records: Sequence[Tree]) -> Tree:
        """Each metric of each encoder with its interval, the mean over seeds."""
        scores: Tree = {"num_train_rows": len(self._train), "num_test_rows": len(self._test)}
        for encoder in ENCODERS:
            per_seed = [self._score_run(records, encoder, seed) for seed in self.settings.seeds]
            scores[encoder] = {name: mean(each[name] for each in per_seed) for name in per_seed[0]}
        return scores

    def _score_run(self, records: Sequence[Tree], encoder: str, seed: int) -> dict[str, float]:
        run = (self.name, encoder, seed)
        own = [row for row in records if (row["benchmark"], row["encoder"], row["seed"]) == run]
        rows = [(row["labels"], row["predictions"], self.classes) for row in own]
        return bootstrap(
            CLASSIFICATION_METRICS,
            [metric.measure(rows) for metric in CLASSIFICATION_METRICS],
            [sample.groups.patient or sample.id for sample in self._test],
            num_resamples=self.settings.num_resamples,
            confidence=self.settings.confidence,
            seed=0,
        )

    def _targets(self, samples: Sequence[Sample]) -> torch.Tensor:
        """(rows,) classes, or (rows, m) of 0 and 1 if a row may have several."""
        if not self.is_multi_label:
            return torch.tensor([self.classes.index(sample.labels[0]) for sample in samples])
        return torch.tensor([[float(name in sample.labels) for name in self.classes] for sample in samples])

    def _decide(self, probabilities: Sequence[float]) -> list[str]:
        """The predicted classes: those above the threshold, or the most probable one if a row has exactly one."""
        if self.is_multi_label:
            pairs = zip(self.classes, probabilities, strict=True)
            return [name for name, probability in pairs if probability > self.settings.threshold]
        return [self.classes[probabilities.index(max(probabilities))]]

    def _read(self, rows: pa.Table) -> list[Sample]:
        samples = list(ShardStore(paths.SAMPLES).take(rows))
        odd = next((sample for sample in samples if len(sample.labels) != 1), None)
        if odd is not None and not self.is_multi_label:
            raise SourceError(
                f"{odd.id}: has {len(odd.labels)} labels; expected one, because its card is not multi-label"
            )
        return samples

    def _reader(self, samples: Sequence[Sample]) -> Callable[[Sequence[int]], torch.Tensor]:
        """Normalized pixels (N, 3, S, S) of rows by number, each decoded once."""
        processor = self._image_processor
        side_px, resample = processor.size["height"], processor.resample
        kept: dict[int, torch.Tensor] = {}

        def read_rows(rows: Sequence[int]) -> torch.Tensor:
            for row in rows:
                if row not in kept:
                    kept[row] = decode(samples[row].images[0], side_px, resample)
            return normalize(torch.stack([kept[row] for row in rows]), processor.image_mean, processor.image_std)

        return read_rows


def _of_splits(name: str, rows: pa.Table, splits: Sequence[str]) -> pa.Table:
    found = rows.filter(pc.is_in(rows["split"], pa.array(splits)))
    if not len(found):
        raise SourceError(
            f"{name}: no row of split {' or '.join(splits)} in the mix; add its files to the local data folder"
        )
    return found


def _divide(name: str, rows: pa.Table, params: Params) -> tuple[pa.Table, pa.Table]:
    """The train and test rows of a benchmark without published splits."""
    columns = ["id", "labels", "groups.patient", "images.list.element.phash", "images.list.element.thumbnail"]
    table = ShardStore(paths.SAMPLES / name).read(columns)
    facts = table.take(pc.index_in(rows["id"], table["id"])).to_pylist()
    images = [row["images"][0] for row in facts]
    fingerprints = group_images(
        np.array([image["phash"] for image in images], np.uint64),
        np.stack([np.frombuffer(image["thumbnail"], np.uint8) for image in images]),
        params.deduplicate.hamming_radius,
        params.deduplicate.thumbnail_distance,
    )
    groups = [
        row["groups"]["patient"] or f"fingerprint {number}" for row, number in zip(facts, fingerprints, strict=True)
    ]
    settings = params.transfer
    try:
        train, test = divide([row["labels"] for row in facts], groups, settings.num_parts, settings.division_seed)
    except SourceError as error:
        raise SourceError(f"{name}: {error}; lower transfer.num_parts") from None
    return rows.take(train), rows.take(test)
