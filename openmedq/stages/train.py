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
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openmedq import encoders, layout, training_data
from openmedq.cards import Access
from openmedq.errors import ValidationError
from openmedq.io.progress import Log
from openmedq.io.publish import publish
from openmedq.io.shards import read_samples
from openmedq.io.weights import add_metadata
from openmedq.params import Params
from openmedq.schema import Role
from openmedq.vlm import model as models
from openmedq.vlm import prompt, training
from openmedq.vlm.samples import EncodedSamples

INDEX = layout.MIX / "index.parquet"
METRICS = layout.TRAINING / "metrics.json"
LOSSES = layout.TRAINING / "loss.csv"


def run(params: Params, log: Log) -> None:
    """Write data/model, data/training/metrics.json and loss.csv; log loss, lr and speed of each update.

    Raises:
        ModelError: weights that can't be had or don't fit, or a loss that is not finite.
        ParamsError: a batch size that can't be dealt out to the devices.
        ValidationError: the mix has no training row.
    """
    dials = params.train
    accelerator = training.start(dials, params.execution.device)
    index = pq.read_table(INDEX)
    rows = index.filter(pc.equal(index["role"], Role.TRAIN.value))
    held_out = index.filter(pc.equal(index["role"], Role.VALIDATION.value))
    if not len(rows):
        raise ValidationError(f"{INDEX}: no row trains; {layout.MIX / 'waterfall.json'} says where the rows went")
    model, processor = models.build(dials, _read_texts(rows.filter(pc.not_equal(rows["access"], Access.CREDENTIALED))))
    num_patches = encoders.count_patches(dials.vision)

    def encode(rows: pa.Table) -> EncodedSamples:
        return EncodedSamples(read_samples(layout.SAMPLES, rows), processor, num_patches, dials.max_tokens)

    num_workers = params.execution.workers if params.execution.workers > 1 else 0
    weights = rows["weight"].to_numpy().astype(np.float32)
    history = training.train(model, encode(rows), weights, dials, accelerator, num_workers, log)
    metrics = history.as_metrics()
    if len(held_out):
        metrics["validation_loss"] = training.validate(model, encode(held_out), dials, accelerator, num_workers)
    if accelerator.is_main_process:
        with publish(layout.MODEL) as folder:
            models.save(model, processor, folder)
            _sign(folder, training_data.describe(rows, params, _find_origin))
        _write(history.losses, metrics)
        log({name: value for name, value in metrics.items() if name.endswith("loss")}, None)
    accelerator.wait_for_everyone()


def _read_texts(rows: pa.Table) -> Iterator[str]:
    """The words of the samples, as they are asked and answered: what a new tokenizer is trained on."""
    for sample in read_samples(layout.SAMPLES, rows, with_pictures=False):
        for turn in sample.turns:
            yield f"{prompt.request(sample.task, turn)}\nAnswer: {prompt.respond(sample.task, turn)}"


def _sign(folder: Path, tree: dict[str, Any]) -> None:
    """What was trained on, beside the weights and in the header of each of their files."""
    (folder / training_data.NAME).write_text(training_data.render(tree), encoding="utf-8")
    text = json.dumps(tree, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    for path in sorted(folder.glob("*.safetensors")):
        add_metadata(path, training_data.METADATA, text)


def _find_origin(source: str) -> str:
    """Where the files of a source came from: miniature, mirror, official."""
    counts = json.loads((layout.SAMPLES / source / "counts.json").read_text(encoding="utf-8"))
    return str(counts["origin"])


def _write(losses: list[float], metrics: dict[str, float]) -> None:
    with publish(LOSSES) as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "loss"])
        writer.writerows(enumerate(losses, start=1))
    with publish(METRICS) as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
