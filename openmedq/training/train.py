"""Next-token training of encoder, projector and adapters on the mix.

The same data, dials and number of threads on the same machine give the same weights, byte for byte. The loop is
`vlm/training.py`, the model `vlm/model.py`; here is only what is read and what is written. `log` takes what is to be
watched; nothing here knows who watches.
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
from openmedq.model import encoders, prompt, training_data
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
        ModelError: weights that can't be had or don't fit; a loss, a gradient or trained weights that are not finite.
        ParamsError: a batch size that can't be dealt out to the devices.
        ValidationError: the mix has no training row.
    """
    dials = params.train
    accelerator = trainer.start(dials, params.execution.device)
    index, store = read_index(), ShardStore(paths.SAMPLES)
    rows = index.filter(pc.equal(index["role"], Role.TRAIN.value))
    held_out = index.filter(pc.equal(index["role"], Role.VALIDATION.value))
    if not len(rows):
        raise ValidationError(f"{INDEX}: no row trains; {paths.MIX / 'waterfall.json'} says where the rows went")
    model, processor = models.build(
        dials, _read_texts(store, rows.filter(pc.not_equal(rows["access"], Access.CREDENTIALED)))
    )
    num_patches = encoders.count_patches(dials.vision)

    def encode(rows: pa.Table) -> EncodedSamples:
        return EncodedSamples(store.take(rows), processor, num_patches, dials.max_tokens)

    num_workers = params.execution.workers if params.execution.workers > 1 else 0
    weights = rows["weight"].to_numpy().astype(np.float32)
    history = trainer.train(model, encode(rows), weights, dials, accelerator, num_workers, log)
    metrics = history.as_metrics()
    if len(held_out):
        metrics["validation_loss"] = trainer.validate(model, encode(held_out), dials, accelerator, num_workers)
        trainer.check_finite("the validation loss", metrics["validation_loss"], len(history.losses), dials)
    if accelerator.is_main_process:
        merged = models.merge(model)
        trainer.check_weights(merged, len(history.losses), dials)
        # Nothing takes its place before all is written.
        with (
            publish(LOSSES) as loss_file,
            publish(METRICS) as metrics_file,
            publish(paths.MODEL, merged.get_memory_footprint()) as folder,
        ):
            models.save(merged, processor, folder)
            tree = training_data.describe(rows, params, _find_origin)
            (folder / training_data.NAME).write_text(training_data.render(tree), encoding="utf-8")
            _write_losses(history.losses, loss_file)
            metrics_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        log({name: value for name, value in metrics.items() if name.endswith("loss")}, None)
    accelerator.wait_for_everyone()


def _read_texts(store: ShardStore, rows: pa.Table) -> Iterator[str]:
    """The words of the samples, as they are asked and answered: what a new tokenizer is trained on."""
    for sample in store.take(rows, with_pictures=False):
        for turn in sample.turns:
            yield f"{prompt.request(sample.task, turn)}\nAnswer: {prompt.respond(sample.task, turn)}"


def _find_origin(source: str) -> str:
    """Where the files of a source came from: miniature, mirror, official."""
    return str(read_counts(paths.SAMPLES / source)["origin"])


def _write_losses(losses: list[float], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "loss"])
        writer.writerows(enumerate(losses, start=1))
