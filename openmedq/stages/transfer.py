"""Encoder and linear head, fine-tuned on classification sets that no training has seen.

The encoder out of `data/model` against the same architecture from scratch, by the same recipe (`vlm/classifier.py`),
each set fitted on its split `train` and scored on its split `test`. A set that is absent is left out, and said so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import nn

from openmedq import layout
from openmedq.cards import catalogue
from openmedq.errors import ParamsError, SourceError
from openmedq.io.progress import progress
from openmedq.io.publish import publish
from openmedq.io.shards import read_samples
from openmedq.metrics.classification import score_classes
from openmedq.params import Params, Transfer
from openmedq.schema import Sample
from openmedq.vlm.batch import read_pixels
from openmedq.vlm.classifier import fine_tune, predict
from openmedq.vlm.model import load, pick_device

Log = Callable[[Mapping[str, float], int | None], None]
Tree = dict[str, Any]

PREDICTIONS = layout.TRANSFER / "predictions.parquet"
METRICS = layout.TRANSFER / "metrics.json"
TRAIN_SPLIT, TEST_SPLIT = "train", "test"
PREDICTION_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), False) for name in ("benchmark", "encoder")),
        pa.field("seed", pa.int64(), False),
        *(pa.field(name, pa.string(), False) for name in ("id", "label", "prediction")),
        pa.field("probability", pa.float32(), False),  # of the predicted class
    ]
)

logger = logging.getLogger(__name__)


def run(params: Params, log: Log) -> None:
    """Write data/transfer: predictions.parquet (PREDICTION_SCHEMA) and metrics.json; log the final scores.

    Raises:
        ParamsError: a benchmark that the catalogue does not know.
        SourceError: a benchmark without rows to fit or to score, or with several labels a row.
    """
    dials = params.transfer
    cards = catalogue.read(layout.CATALOGUE)
    known = [name for name, card in cards.items() if card["kind"] == "benchmark"]
    for name in dials.benchmarks:
        if name not in known:
            raise ParamsError(f"transfer.benchmarks: {name}: no such benchmark; there are {', '.join(known)}")
    torch.use_deterministic_algorithms(True, warn_only=True)
    index = pq.read_table(layout.MIX / "index.parquet")
    device = pick_device(params.execution.device)
    model, processor = load(layout.MODEL, device)

    records: list[Tree] = []
    metrics: Tree = {}
    for name in dials.benchmarks:
        rows = index.filter(pc.equal(index["source"], name))
        if not len(rows):
            logger.info("%s: absent, so nothing is transferred to it", name)
            continue
        benchmark = Benchmark(name, cards[name]["classes"], rows, processor.image_processor, dials)
        with progress(f"fine-tuning on {name}", benchmark.num_visits) as advance:
            for encoder in ("trained", "scratch"):
                for seed in dials.seeds:
                    tower = model.model.vision_tower if encoder == "trained" else _scratch(model, seed).to(device)
                    records += benchmark.transfer(tower, encoder, seed, advance)
        metrics[name] = benchmark.score(records)
    if metrics:
        metrics["mean"] = {
            encoder: mean(scores[encoder]["macro_f1"] for scores in metrics.values())
            for encoder in ("trained", "scratch")
        }
    with publish(PREDICTIONS) as path:
        pq.write_table(pa.Table.from_pylist(records, PREDICTION_SCHEMA), path, compression="zstd")
    with publish(METRICS) as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    log({f"mean/{encoder}": value for encoder, value in metrics.get("mean", {}).items()}, None)


class Benchmark:
    """One classification set: the rows to fit and to score, and what became of them."""

    def __init__(self, name: str, classes: Sequence[str], rows: pa.Table, image_processor: Any, dials: Transfer):
        self.name, self.classes, self.dials = name, list(classes), dials
        self._image_processor = image_processor
        self._fitted = self._read(rows, TRAIN_SPLIT)
        self._scored = self._read(rows, TEST_SPLIT)

    @property
    def num_visits(self) -> int:
        """Training rows seen by all fine-tunings together."""
        num_rows = min(len(self._fitted), self.dials.max_rows or len(self._fitted))
        return 2 * len(self.dials.seeds) * self.dials.num_epochs * num_rows

    def transfer(self, encoder: nn.Module, name: str, seed: int, advance: Callable[[int], None]) -> list[Tree]:
        """Fine-tune, and say what the test rows were taken for."""
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(len(self._fitted), generator=generator)[: self.dials.max_rows].tolist()
        fitted = [self._fitted[row] for row in sorted(drawn)]
        targets = torch.tensor([self.classes.index(sample.labels[0]) for sample in fitted])
        model = fine_tune(encoder, self._reader(fitted), targets, len(self.classes), self.dials, seed, advance)
        records = []
        answers = predict(model, self._reader(self._scored), len(self._scored), self.dials.batch_size)
        for sample, probabilities in zip(self._scored, answers, strict=True):
            probability = max(probabilities)
            prediction = self.classes[probabilities.index(probability)]
            records.append(
                {
                    "benchmark": self.name,
                    "encoder": name,
                    "seed": seed,
                    "id": sample.id,
                    "label": sample.labels[0],
                    "prediction": prediction,
                    "probability": probability,
                }
            )
        return records

    def score(self, records: Sequence[Tree]) -> Tree:
        """Macro-F1 of both encoders with its interval, the mean over seeds of each."""
        scores: Tree = {"num_train_rows": len(self._fitted), "num_test_rows": len(self._scored)}
        for encoder in ("trained", "scratch"):
            per_seed = []
            for seed in self.dials.seeds:
                own = [
                    row
                    for row in records
                    if (row["benchmark"], row["encoder"], row["seed"]) == (self.name, encoder, seed)
                ]
                per_seed.append(
                    score_classes(
                        [row["label"] for row in own],
                        [row["prediction"] for row in own],
                        self.classes,
                        num_resamples=self.dials.num_resamples,
                        confidence=self.dials.confidence,
                    )
                )
            scores[encoder] = {name: mean(each[name] for each in per_seed) for name in per_seed[0]}
        return scores

    def _read(self, rows: pa.Table, split: str) -> list[Sample]:
        samples = list(read_samples(layout.SAMPLES, rows.filter(pc.equal(rows["split"], split))))
        if not samples:
            raise SourceError(f"{self.name}: no row of the split {split!r}; transfer fits on train and scores on test")
        odd = next((sample.id for sample in samples if len(sample.labels) != 1), None)
        if odd is not None:
            raise SourceError(
                f"{odd}: not exactly one label; sets with several labels a row can't be transferred to yet"
            )
        return samples

    def _reader(self, samples: Sequence[Sample]) -> Callable[[Sequence[int]], torch.Tensor]:
        """Pixels of rows by number, decoded once."""
        kept: dict[int, torch.Tensor] = {}

        def read(rows: Sequence[int]) -> torch.Tensor:
            for row in rows:
                if row not in kept:
                    kept[row] = read_pixels(samples[row].images[0], self._image_processor)
            return torch.stack([kept[row] for row in rows])

        return read


def _scratch(model: Any, seed: int) -> nn.Module:
    """An encoder of the same architecture with random weights."""
    from transformers import AutoModel

    torch.manual_seed(seed)
    encoder: nn.Module = AutoModel.from_config(model.config.vision_config)
    return encoder
