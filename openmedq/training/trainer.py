"""The training loop: AdamW updates over batches of samples, on one or several devices.

Runs as one process, or as one process per device under `accelerate launch`. Each token of an update has the same
weight, for any number of micro batches and devices.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from numpy.typing import NDArray
from peft import PeftModel
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from openmedq.config import Train
from openmedq.errors import ModelError, OpenMedQError, ParamsError
from openmedq.model.batch import blank
from openmedq.model.model import pick_device
from openmedq.model.speed import make_deterministic, prepare
from openmedq.storage.progress import Log, progress
from openmedq.training import objectives
from openmedq.training.data import EncodedSamples, MicroBatch
from openmedq.training.learner import Learner
from openmedq.training.sampler import count_updates, draw_updates
from openmedq.training.schedule import scale


@dataclass
class History:
    """Losses and counts of a training; no times, so that they are reproducible."""

    losses: list[float] = field(default_factory=list)  # one per update
    num_samples: int = 0
    num_tokens: int = 0  # tokens with labels
    num_cut_samples: int = 0

    def as_metrics(self) -> dict[str, float]:
        """Return the counts, and the mean loss of the last tenth of the updates."""
        tail = self.losses[-max(1, len(self.losses) // 10) :]
        return {
            "loss": sum(tail) / len(tail),
            "num_steps": len(self.losses),
            "num_samples": self.num_samples,
            "num_tokens": self.num_tokens,
            "num_cut_samples": self.num_cut_samples,
        }


def start(settings: Train, device: str) -> Accelerator:
    """Set up device, precision, seeds and determinism; ModelError if the device is not available."""
    is_cpu = pick_device(device).type == "cpu"
    make_deterministic(settings, pick_device(device))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    AcceleratorState._reset_state()  # drops the state of an earlier training in this process
    accelerator = Accelerator(
        cpu=is_cpu,
        mixed_precision="no",  # the learner casts
        # In a batch without images the encoder gets no gradient.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    set_seed(settings.seed)
    return accelerator


def train(
    model: PeftModel,
    dataset: EncodedSamples,
    weights: NDArray[np.float32],
    settings: Train,
    accelerator: Accelerator,
    num_workers: int,
    log: Log,
) -> History:
    """Train the model in place; log loss, lr and samples per second of each update.

    Raises:
        ModelError: a loss or a gradient is not finite.
        ParamsError: the batch size can't be divided among devices and micro batches.
    """
    num_micro = _count_micro_batches(settings, accelerator.num_processes)
    num_updates = count_updates(weights, settings.num_epochs, settings.batch_size, settings.max_steps)
    prepare(model, settings, accelerator.device)
    learner = Learner(model, settings)
    optimizer, schedule = _configure(learner, settings, num_updates)
    learner.train()
    prepared, optimizer = accelerator.prepare_model(learner), accelerator.prepare_optimizer(optimizer)
    updates = draw_updates(weights, settings.seed, num_updates, settings.batch_size)
    rank, world = accelerator.process_index, accelerator.num_processes
    order = (micro.tolist() for update in updates for micro in np.split(update[rank::world], num_micro))
    batches = _load(dataset, order, num_workers)
    generator = torch.Generator().manual_seed(settings.seed * world + rank)
    history = History()
    with progress("train", num_updates) as advance:
        for step in range(1, num_updates + 1):
            started = time.perf_counter()
            micros = [_blank(next(batches), settings, generator) for _ in range(num_micro)]
            loss = _accumulate(prepared, micros, settings, accelerator, history)
            check_finite("the loss", loss, step, settings)
            norm = accelerator.clip_grad_norm_(prepared.parameters(), settings.max_grad_norm)
            check_finite("the norm of the gradient", float(norm), step, settings)
            lr = schedule.get_last_lr()[0]
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            history.losses.append(loss)
            history.num_samples += settings.batch_size
            if accelerator.is_main_process:
                speed = settings.batch_size / (time.perf_counter() - started)
                log({"loss": loss, "lr": lr, "samples_per_second": speed}, step)
            advance(1)
    check_finite("the loss after the update", _measure(prepared, micros, accelerator), num_updates, settings)
    return history


def check_finite(what: str, value: float, step: int, settings: Train) -> None:
    """Raise ModelError if a value of an update is not finite, before it reaches the weights."""
    if math.isfinite(value):
        return
    precision = " or set train.precision: fp32" if settings.precision != "fp32" else ""
    raise ModelError(
        f"update {step}: {what} is {value}; lower train.lr ({settings.lr}) or train.max_grad_norm "
        f"({settings.max_grad_norm}), raise train.warmup ({settings.warmup}){precision}"
    )


def check_weights(model: nn.Module, step: int, settings: Train) -> None:
    """Raise ModelError if a weight is not finite after the last update."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            check_finite(f"a weight of {name}", math.nan, step, settings)


@torch.no_grad()
def _measure(model: nn.Module, micros: list[MicroBatch], accelerator: Accelerator) -> float:
    """Compute the loss of the last batch again: no other loss depends on the last update."""
    total = torch.zeros((), device=accelerator.device)
    for micro in micros:
        total += sum(model(micro.batch.to(accelerator.device))[:2])
    return float(accelerator.reduce(total, "sum").item())


@torch.no_grad()
def validate(
    model: PeftModel, dataset: EncodedSamples, settings: Train, accelerator: Accelerator, num_workers: int
) -> float:
    """Return the mean cross-entropy over the tokens with labels."""
    learner = Learner(model, settings).to(accelerator.device).eval()
    rows = np.arange(len(dataset))[accelerator.process_index :: accelerator.num_processes]
    size = int(settings.micro_batch_size)
    order = (rows[start : start + size].tolist() for start in range(0, len(rows), size))
    sums = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
    for micro in _load(dataset, order, num_workers):
        loss = learner(micro.batch.to(accelerator.device)).next_token
        sums += torch.tensor([loss.item(), objectives.count_learned(micro.batch)], device=accelerator.device)
    total, num_tokens = accelerator.reduce(sums, "sum").tolist()
    return float(total / max(1, num_tokens))


def _blank(micro: MicroBatch, settings: Train, generator: torch.Generator) -> MicroBatch:
    if not settings.blank_share or not len(micro.batch.pixels):
        return micro
    vision = settings.vision
    pixels = blank(micro.batch.pixels, settings.blank_share, vision.mean, vision.std, generator)
    return micro._replace(batch=replace(micro.batch, pixels=pixels))


def _accumulate(
    model: nn.Module, micros: list[MicroBatch], settings: Train, accelerator: Accelerator, history: History
) -> float:
    """Accumulate the gradients of one update and update the counts; return its loss over all devices."""
    counts = [
        sum(objectives.count_learned(micro.batch) for micro in micros),
        sum(len(micro.batch.pixels) for micro in micros),
        sum(micro.num_cut_samples for micro in micros),
    ]
    summed = accelerator.reduce(torch.tensor(counts, device=accelerator.device), "sum")
    num_tokens, num_images, num_cut_samples = summed.tolist()
    history.num_tokens += num_tokens
    history.num_cut_samples += num_cut_samples
    total = torch.zeros((), device=accelerator.device)
    for number, micro in enumerate(micros, start=1):
        batch = micro.batch.to(accelerator.device)
        with nullcontext() if number == len(micros) else accelerator.no_sync(model):
            loss = objectives.combine(model(batch), settings, num_tokens, num_images)
            # The gradients are averaged over the devices, but the counts are sums over all of them.
            accelerator.backward(loss * accelerator.num_processes)
        total += loss.detach()
    return float(accelerator.reduce(total, "sum").item())


def _count_micro_batches(settings: Train, num_processes: int) -> int:
    share = int(settings.micro_batch_size) * num_processes
    if settings.batch_size % share:
        raise ParamsError(
            f"train.batch_size: {settings.batch_size} is not a multiple of micro_batch_size, "
            f"{settings.micro_batch_size}, times {num_processes} devices; change one of them"
        )
    return settings.batch_size // share


def _configure(model: nn.Module, settings: Train, num_updates: int) -> tuple[Any, Any]:
    """Return AdamW, without decay on vectors (biases, norms), and the learning rate schedule."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr)
    num_warmup = round(settings.warmup * num_updates)
    return optimizer, LambdaLR(optimizer, lambda update: scale(update, num_warmup, num_updates))


def _load(dataset: EncodedSamples, order: Iterator[list[int]], num_workers: int) -> Iterator[MicroBatch]:
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=order,
        collate_fn=dataset.collate,
        num_workers=num_workers,
        # After a fork, locks of torch's and Arrow's threads may stay locked forever.
        multiprocessing_context="spawn" if num_workers else None,
    )
    try:
        yield from loader
    except OpenMedQError as error:  # torch adds the loader process's stack trace to the message
        _, _, line = str(error).rstrip().rpartition(f"{type(error).__qualname__}: ")
        raise type(error)(line) from None
