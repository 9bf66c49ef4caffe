"""The stage `train`: reads the mix, trains, and writes the model and its metrics.

The same data, settings and number of threads on the same machine give byte-identical weights.
"""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openmedq import paths
from openmedq.config import Params, Train
from openmedq.datasets.card import Access
from openmedq.errors import ParamsError, ValidationError
from openmedq.model import encoders, prompt, provenance, speed
from openmedq.model import model as models
from openmedq.schema import Role
from openmedq.storage.progress import Log
from openmedq.storage.publish import exclusive, publish, remove
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import INDEX, read_counts, read_index
from openmedq.training import devices, fingerprint, memory
from openmedq.training.checkpoint import Checkpoints
from openmedq.training.data import EncodedRows
from openmedq.training.history import History, check_weights
from openmedq.training.learner import Learner
from openmedq.training.order import Order, count_open_groups, number_groups
from openmedq.training.trainer import Trainer

METRICS = paths.TRAINING / "metrics.json"
LOSSES = paths.TRAINING / "loss.csv"


def run(params: Params, log: Log) -> None:
    """Write data/model, data/training/metrics.json and loss.csv; log loss, learning rate and speed of each update.

    A training that was killed resumes from its last checkpoint in data/checkpoints. If two trainings of a project are
    started, the second waits for the first.

    Raises:
        DiskFullError: no space for the model or a checkpoint.
        ModelError: pretrained weights can't be loaded; `max_tokens` is too small for a row's images; a loss, a gradient
            or a trained weight is not finite.
        ParamsError: the batch size can't be divided among the devices; the micro batch is `auto`, without a GPU; the
            alignment is all of the training.
        StaleError: a shard or the best checkpoint is damaged.
        ValidationError: the mix has no training row, or no validation row that the settings need.
    """
    own = devices.start(params.train, params.execution.device, params.execution.sharding)
    with exclusive(paths.CHECKPOINTS) if own.is_main else nullcontext():
        _run(params, own, log)


def _run(params: Params, own: devices.Devices, log: Log) -> None:
    settings = params.train
    index, store = read_index(), ShardStore(paths.SAMPLES)
    rows = index.filter(pc.equal(index["role"], Role.TRAIN.value))
    held_out = index.filter(pc.equal(index["role"], Role.VALIDATION.value))
    if not len(rows):
        raise ValidationError(f"{INDEX}: no training rows; {paths.MIX / 'waterfall.json'} lists why rows were excluded")
    if (total := pc.sum(rows["weight"]).as_py()) < 1:
        raise ValidationError(f"{INDEX}: an epoch has {total:.2g} rows, the sum of their weights; raise mix.weights")
    if not settings.next_token_weight:  # the contrastive loss of a row without images is zero
        has_images = pc.field("num_images") > 0
        held_out = held_out.filter(has_images)
        if not len(rows.filter(has_images)):
            raise ValidationError(f"{INDEX}: no training images, which train.next_token_weight: 0 needs; set it to 1")
    if not len(held_out) and (settings.patience is not None or settings.select == "best"):
        raise ValidationError(
            f"{INDEX}: no validation rows, which train.patience and train.select: best need; give a split this role in "
            "mix.roles, or set train.patience: null and train.select: last"
        )
    if settings.batch_size % own.num:
        raise ParamsError(
            f"train.batch_size: {settings.batch_size} is not a multiple of the number of devices, {own.num}; change it"
        )
    texts = _read_texts(store, rows.filter(pc.not_equal(rows["access"], Access.CREDENTIALED)))
    memory.check_micro_batch(settings, own)
    model, processor = models.build(settings, texts, own.load_device, own.share)
    for each in (rows, held_out) if settings.with_images else ():
        _check_images(each, store, processor.tokenizer, settings)
    speed.prepare(model, settings, own.device)
    learner = Learner(model, settings)
    with _make_temporary(paths.PARTIAL / f"train-{own.rank}") as folder:
        trainer = _prepare(learner, processor, rows, held_out, params, own, log, folder)
        history = trainer.train()
    metrics = history.as_metrics()
    own.gather(learner)
    if own.is_main:
        check_weights(model.state_dict(), history.num_steps, settings)
        # All outputs are complete before the first of them replaces an old one.
        with (
            publish(LOSSES) as loss_file,
            publish(METRICS) as metrics_file,
            publish(paths.MODEL, models.count_bytes(model)) as folder,
        ):
            models.save(model, processor, folder)
            micro = int(trainer.settings.micro_batch_size)
            origins = {
                each: read_counts(paths.SAMPLES / each)["origin"] for each in rows["source"].unique().to_pylist()
            }
            tree = provenance.describe(rows, params, origins, num_devices=own.num, micro_batch_size=micro)
            (folder / provenance.NAME).write_text(provenance.render(tree), encoding="utf-8")
            _write_losses(history, loss_file)
            metrics_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        log({name: value for name, value in metrics.items() if name.endswith("loss")}, None)
    trainer.checkpoints.finish(LOSSES)


def _prepare(
    learner: Learner,
    processor: Any,
    rows: pa.Table,
    held_out: pa.Table,
    params: Params,
    own: devices.Devices,
    log: Log,
    folder: Path,
) -> Trainer:
    """Prepare the training; `folder` holds what loader processes share."""
    settings, num_rows = params.train, len(rows)
    both = pa.concat_tables([rows, held_out]).combine_chunks()
    num_workers = params.execution.workers if params.execution.workers > 1 else 0
    num_patches = encoders.count_patches(settings.vision)
    samples = ShardStore(paths.SAMPLES).take(
        both, num_groups=count_open_groups(num_workers), shared=folder / "rows.npy" if num_workers else None
    )
    sources = both["source"].combine_chunks().dictionary_encode()
    checkpoints = Checkpoints(fingerprint.compute(settings, learner, both, own), own)  # of the weights as one piece
    order = Order(
        rows["weight"].to_numpy().astype(np.float32),
        number_groups(rows),
        settings.seed,
        settings.batch_size,
    )
    num_updates = order.count_updates(settings.num_epochs, settings.max_steps)
    if settings.align_steps >= num_updates:
        raise ParamsError(
            f"train.align_steps: {settings.align_steps}, but the training has {num_updates} updates; lower it, so that "
            "the adapters are trained too"
        )
    own.place(learner)
    settings = memory.choose_micro_batch(learner, settings, own)
    return Trainer(
        learner,
        EncodedRows(samples, processor, num_patches, settings.max_tokens, with_images=settings.with_images),
        order,
        np.arange(num_rows, len(both)),
        sources.indices.to_numpy().astype(np.int64),
        sources.dictionary.to_pylist(),
        settings,
        own,
        log,
        checkpoints,
        num_workers,
        processor.tokenizer.pad_token_id,
    )


def _check_images(rows: pa.Table, store: ShardStore, tokenizer: Any, settings: Train) -> None:
    """Encode the row with the most images: if it does not fit, training would end when it is read.

    Raises:
        ModelError: `max_tokens` is too small for it.
    """
    largest = int(np.argmax(rows["num_images"].to_numpy())) if len(rows) else 0
    for sample in store.take(rows.slice(largest, 1), with_images=False):
        prompt.encode(sample, tokenizer, encoders.count_patches(settings.vision), settings.max_tokens)


@contextmanager
def _make_temporary(folder: Path) -> Iterator[Path]:
    """Make an empty folder, and remove it at the end; a process that was killed leaves it to the next one."""
    remove(folder)
    folder.mkdir(parents=True)
    yield folder
    remove(folder)


def _read_texts(store: ShardStore, rows: pa.Table) -> Iterator[str]:
    """Yield requests and answers as in the prompts, to train a new tokenizer."""
    for sample in store.take(rows, with_images=False):
        for turn in sample.turns:
            yield f"{prompt.request(sample.task, turn)}\nAnswer: {prompt.respond(sample.task, turn)}"


def _write_losses(history: History, path: Path) -> None:
    """Write the losses of all updates and validations."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "loss", "validation_loss"])
        for step, loss in enumerate(history.losses, start=1):
            writer.writerow([step, loss, history.validation_losses.get(str(step))])
