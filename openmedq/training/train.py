"""The stage `train`: reads the mix, trains, and writes the model and its metrics.

The same data, settings and number of threads on the same machine give byte-identical weights.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openmedq import paths
from openmedq.config import Params
from openmedq.datasets.card import Access
from openmedq.errors import ValidationError
from openmedq.model import encoders, prompt, provenance
from openmedq.model import model as models
from openmedq.schema import Role
from openmedq.storage.progress import Log
from openmedq.storage.publish import publish
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import INDEX, read_counts, read_index
from openmedq.training import trainer
from openmedq.training.data import EncodedSamples

METRICS = paths.TRAINING / "metrics.json"
LOSSES = paths.TRAINING / "loss.csv"


def run(params: Params, log: Log) -> None:
    """Write data/model, data/training/metrics.json and loss.csv; log loss, lr and speed of each update.

    Raises:
        DiskFullError: no space for the model.
        ModelError: pretrained weights can't be loaded; a loss, a gradient or a trained weight is not finite.
        ParamsError: the batch size can't be divided among the devices.
        ValidationError: the mix has no training row.
    """
    settings = params.train
    accelerator = trainer.start(settings, params.execution.device)
    index, store = read_index(), ShardStore(paths.SAMPLES)
    rows = index.filter(pc.equal(index["role"], Role.TRAIN.value))
    held_out = index.filter(pc.equal(index["role"], Role.VALIDATION.value))
    if not len(rows):
        raise ValidationError(f"{INDEX}: no training rows; {paths.MIX / 'waterfall.json'} lists why rows were excluded")
    model, processor = models.build(
        settings, _read_texts(store, rows.filter(pc.not_equal(rows["access"], Access.CREDENTIALED)))
    )
    num_patches = encoders.count_patches(settings.vision)

    def encode(rows: pa.Table) -> EncodedSamples:
        return EncodedSamples(store.take(rows), processor, num_patches, settings.max_tokens)

    num_workers = params.execution.workers if params.execution.workers > 1 else 0
    weights = rows["weight"].to_numpy().astype(np.float32)
    history = trainer.train(model, encode(rows), weights, settings, accelerator, num_workers, log)
    metrics = history.as_metrics()
    if len(held_out):
        metrics["validation_loss"] = trainer.validate(model, encode(held_out), settings, accelerator, num_workers)
        trainer.check_finite("the validation loss", metrics["validation_loss"], len(history.losses), settings)
    if accelerator.is_main_process:
        trainer.check_weights(model, len(history.losses), settings)
        # All outputs are complete before the first of them replaces an old one.
        with (
            publish(LOSSES) as loss_file,
            publish(METRICS) as metrics_file,
            publish(paths.MODEL, models.count_bytes(model)) as folder,
        ):
            models.save(model, processor, folder)
            tree = provenance.describe(rows, params, _find_origin)
            (folder / provenance.NAME).write_text(provenance.render(tree), encoding="utf-8")
            _write_losses(history.losses, loss_file)
            metrics_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        log({name: value for name, value in metrics.items() if name.endswith("loss")}, None)
    accelerator.wait_for_everyone()


def _read_texts(store: ShardStore, rows: pa.Table) -> Iterator[str]:
    """Yield requests and answers as in the prompts, to train a new tokenizer."""
    for sample in store.take(rows, with_images=False):
        for turn in sample.turns:
            yield f"{prompt.request(sample.task, turn)}\nAnswer: {prompt.respond(sample.task, turn)}"


def _find_origin(source: str) -> str:
    """Return the origin of a source's files: miniature, mirror or official."""
    return str(read_counts(paths.SAMPLES / source)["origin"])


def _write_losses(losses: list[float], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "loss"])
        writer.writerows(enumerate(losses, start=1))
