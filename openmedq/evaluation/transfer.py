"""Encoder and linear head, fine-tuned on classification sets that no training has seen.

The encoder out of `data/model` against the same architecture from scratch, by the same recipe (`vlm/classifier.py`).
A set is fitted and scored on the splits that its card says; one without a split is divided by its groups. Where a row
may have several classes, those above `transfer.threshold` are predicted. A set without a row in the mix is left
out, and said so.
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
from torch import nn

from openmedq import paths
from openmedq.config import Params
from openmedq.curate.division import divide
from openmedq.curate.images import group_pictures
from openmedq.datasets import catalogue
from openmedq.datasets.card import Card
from openmedq.errors import SourceError
from openmedq.evaluation.classifier import fine_tune, predict
from openmedq.evaluation.metrics.classification import score_classes
from openmedq.model.batch import read_pixels
from openmedq.model.model import load, pick_device
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


def run(params: Params, log: Log) -> None:
    """Write data/transfer: predictions.parquet (PREDICTION_SCHEMA) and metrics.json; log the final scores.

    Raises:
        SourceError: a benchmark without rows to fit or to score, or with several labels where its card says one.
    """
    dials = params.transfer
    cards = catalogue.read(paths.CATALOGUE)
    torch.use_deterministic_algorithms(True, warn_only=True)
    index = read_index()
    device = pick_device(params.execution.device)
    model, processor = load(paths.MODEL, device)

    records: list[Tree] = []
    metrics: Tree = {}
    for name in dials.benchmarks:
        rows = index.filter(pc.equal(index["source"], name))
        if not len(rows):
            logger.info("%s: no row of it is in the mix, so nothing is transferred to it", name)
            continue
        benchmark = Benchmark(name, cards[name], rows, processor.image_processor, params)
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

    def __init__(self, name: str, card: Card, rows: pa.Table, image_processor: Any, params: Params):
        self.name, self.classes, self.dials = name, list(card.classes), params.transfer
        self.is_multi_label = card.is_multi_label
        self._image_processor = image_processor
        if card.fitted:
            fitted, scored = (_of_splits(name, rows, splits) for splits in (card.fitted, card.scored))
        else:
            fitted, scored = _divide(name, rows, params)
        self._fitted, self._scored = self._read(fitted), self._read(scored)

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
        targets = self._targets(fitted)
        model = fine_tune(encoder, self._reader(fitted), targets, len(self.classes), self.dials, seed, advance)
        answers = predict(
            model,
            self._reader(self._scored),
            len(self._scored),
            self.dials.batch_size,
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
            for sample, probabilities in zip(self._scored, answers, strict=True)
        ]

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
                        [row["labels"] for row in own],
                        [row["predictions"] for row in own],
                        self.classes,
                        groups=[sample.groups.patient or sample.id for sample in self._scored],
                        num_resamples=self.dials.num_resamples,
                        confidence=self.dials.confidence,
                    )
                )
            scores[encoder] = {name: mean(each[name] for each in per_seed) for name in per_seed[0]}
        return scores

    def _targets(self, samples: Sequence[Sample]) -> torch.Tensor:
        """(rows,) classes, or (rows, m) of 0 and 1 where a row may have several."""
        if not self.is_multi_label:
            return torch.tensor([self.classes.index(sample.labels[0]) for sample in samples])
        return torch.tensor([[float(name in sample.labels) for name in self.classes] for sample in samples])

    def _decide(self, probabilities: Sequence[float]) -> list[str]:
        """The classes predicted: those above the threshold, or the likeliest one where a row has one."""
        if self.is_multi_label:
            pairs = zip(self.classes, probabilities, strict=True)
            return [name for name, probability in pairs if probability > self.dials.threshold]
        return [self.classes[probabilities.index(max(probabilities))]]

    def _read(self, rows: pa.Table) -> list[Sample]:
        samples = list(ShardStore(paths.SAMPLES).take(rows))
        odd = next((sample.id for sample in samples if len(sample.labels) != 1), None)
        if odd is not None and not self.is_multi_label:
            raise SourceError(f"{odd}: not exactly one label, which the card of {self.name} promises")
        return samples

    def _reader(self, samples: Sequence[Sample]) -> Callable[[Sequence[int]], torch.Tensor]:
        """Pixels of rows by number, decoded once."""
        kept: dict[int, torch.Tensor] = {}

        def read_rows(rows: Sequence[int]) -> torch.Tensor:
            for row in rows:
                if row not in kept:
                    kept[row] = read_pixels(samples[row].images[0], self._image_processor)
            return torch.stack([kept[row] for row in rows])

        return read_rows


def _of_splits(name: str, rows: pa.Table, splits: Sequence[str]) -> pa.Table:
    found = rows.filter(pc.is_in(rows["split"], pa.array(splits)))
    if not len(found):
        raise SourceError(f"{name}: no row of the split {' or '.join(splits)}; put its files into the mirror")
    return found


def _divide(name: str, rows: pa.Table, params: Params) -> tuple[pa.Table, pa.Table]:
    """The rows to fit and to score of a set without a published split."""
    pictures_columns = (f"images.list.element.{column}" for column in ("phash", "thumbnail"))
    table = ShardStore(paths.SAMPLES / name).read(["id", "labels", "groups.patient", *pictures_columns])
    facts = table.take(pc.index_in(rows["id"], table["id"])).to_pylist()
    pictures = [row["images"][0] for row in facts]
    looks = group_pictures(
        np.array([picture["phash"] for picture in pictures], np.uint64),
        np.stack([np.frombuffer(picture["thumbnail"], np.uint8) for picture in pictures]),
        params.deduplicate.hamming_radius,
        params.deduplicate.thumbnail_distance,
    )
    groups = [row["groups"]["patient"] or f"look {look}" for row, look in zip(facts, looks, strict=True)]
    dials = params.transfer
    try:
        fitted, scored = divide([row["labels"] for row in facts], groups, dials.num_parts, dials.division_seed)
    except SourceError as error:
        raise SourceError(f"{name}: {error}; lower transfer.num_parts") from None
    return rows.take(fitted), rows.take(scored)


def _scratch(model: Any, seed: int) -> nn.Module:
    """An encoder of the same architecture with random weights."""
    from transformers import AutoModel

    torch.manual_seed(seed)
    encoder: nn.Module = AutoModel.from_config(model.config.vision_config)
    return encoder
