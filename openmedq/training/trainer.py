"""The training loop: AdamW updates over micro batches, validations and checkpoints, on one or several devices.

Each token of an update has the same weight, for any number of micro batches and devices. Random numbers of an update
follow from the seed and its number, so that a training resumes without their state.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from openmedq.config import Train
from openmedq.errors import ModelError
from openmedq.storage.progress import Log
from openmedq.training import meter, objectives, optimizer
from openmedq.training.checkpoint import BEST, Checkpoints
from openmedq.training.data import EncodedRows, MicroBatch, Row, divide
from openmedq.training.devices import Devices
from openmedq.training.history import History
from openmedq.training.loader import Job, load
from openmedq.training.order import Order
from openmedq.training.preempt import Preemption

BLANKS = 1  # stream of random numbers, beside the order's


class _Pending(NamedTuple):
    """What an update computed; it is fetched after the next one has been queued, without waiting for that one."""

    step: int
    sums: Tensor  # (2 + 2 S,): next-token and contrastive loss, then loss and tokens by source
    norm: Tensor  # ()
    num_tokens: float
    num_images: float
    is_there: torch.cuda.Event | None  # `sums` and `norm` have arrived on the host; None: they were computed there


@dataclass
class Trainer:
    """One training: `train` runs or resumes it and returns its history; the trained weights are the learner's."""

    learner: nn.Module
    dataset: EncodedRows
    order: Order
    held_out: NDArray[np.int64]  # validation rows of the dataset
    sources: NDArray[np.int64]  # of each row of the dataset
    source_names: list[str]
    settings: Train
    devices: Devices
    log: Log
    checkpoints: Checkpoints
    num_workers: int = 0
    pad_id: int = 0

    def train(self) -> History:
        """Train the learner in place.

        Raises:
            ModelError: a loss or a gradient is not finite.
            SystemExit: the process was asked to end (SIGTERM); a checkpoint was written.
        """
        self.num_updates = self.order.count_updates(self.settings.num_epochs, self.settings.max_steps)
        self.trained = {name: each for name, each in self.learner.named_parameters() if each.requires_grad}
        self._optimizer = optimizer.build(self.trained, self.settings)
        self.history = self.checkpoints.resume(self.trained, self._optimizer)
        optimizer.set_phase(self.trained, self.history.num_steps, self.settings)
        self._wrapped = self.devices.wrap(self.learner)
        self._meter = meter.Meter(self.num_updates, self.history.num_steps, self.devices.device)
        jobs = load(
            self.dataset, self._plan(), self._draw_levels, self.num_workers, self.devices.rank, self.devices.num
        )
        with closing(jobs), Preemption() as preemption, self._meter:
            self._run(jobs, preemption)
        if self.settings.select == "best" and self.history.best_step is not None:
            self.checkpoints.load_best(self.trained)
        return self.history

    def _plan(self) -> Iterator[Job]:
        """Yield the jobs that are left: the updates, and after some of them the batches of a validation."""
        every, done = self.settings.validate_every, self.history.num_steps
        if done < self.num_updates and self._is_validated(done) and str(done) not in self.history.validation_losses:
            yield from self._plan_validation(self.settings.validate_rows)  # the checkpoint preceded the validation
        for update in self.order.updates(done, self.num_updates):
            yield Job(update.rows, update.number, update.epoch, update.ends_epoch)
            if every and self._is_validated(update.number + 1):
                yield from self._plan_validation(self.settings.validate_rows)
        yield from self._plan_validation(None)

    def _is_validated(self, step: int) -> bool:
        """Return whether a validation follows `step` updates; the last one has the final validation."""
        every = self.settings.validate_every
        return bool(every and len(self.held_out) and step and step % every == 0 and step < self.num_updates)

    def _plan_validation(self, max_rows: int | None) -> Iterator[Job]:
        rows = self.held_out
        if max_rows is not None and max_rows < len(rows):
            rows = np.sort(np.random.default_rng([self.settings.seed]).choice(rows, max_rows, replace=False))
        starts = range(0, len(rows), self.settings.batch_size)
        for start in starts:
            is_last = start == starts[-1]
            yield Job(rows[start : start + self.settings.batch_size], None, ends_validation=is_last)

    def _draw_levels(self, job: Job) -> NDArray[np.float32]:
        """Draw the blank-image augmentation of an update: NaN, or the gray level of the images of a row."""
        if job.update is None:
            return np.full(len(job.rows), np.nan, np.float32)
        drawn = np.random.default_rng([self.settings.seed, BLANKS, job.update]).random((2, len(job.rows)))
        return np.where(drawn[0] < self.settings.blank_share, drawn[1], np.nan).astype(np.float32)

    def _run(self, jobs: Iterator[tuple[Job, list[Row]]], preemption: Preemption) -> None:
        pending: _Pending | None = None
        sums = torch.zeros(2, dtype=torch.float64, device=self.devices.device)
        micros: list[MicroBatch] = []
        saved = time.monotonic()
        spare: list[Row] = []  # sharded devices without a row of a validation must take part in its forward passes
        for job, rows in self._meter.wait_for(jobs):
            budget = int(self.settings.micro_batch_size) * self.settings.max_tokens
            if job.update is None:
                spare = rows[:1] or spare
                if rows or self.devices.is_sharded:
                    shown = divide(rows or spare, budget, self.pad_id, self._agree_on_count(rows or spare, budget))
                    sums += self._validate(shown) * bool(rows)
                if job.ends_validation:
                    self._fetch(pending)
                    pending = None
                    self._end_validation(sums)
                    if self._is_out_of_patience():
                        return
                    sums.zero_()
                continue
            micros = divide(rows, budget, self.pad_id, self._agree_on_count(rows, budget))
            current = self._update(job.update, job.epoch, micros)
            self._fetch(pending)
            pending = current
            is_due = self.devices.max_on_hosts(
                [time.monotonic() - saved > 60 * self.settings.checkpoint_minutes, preemption.is_requested]
            )
            is_last = job.update + 1 == self.num_updates
            if any(is_due) or job.ends_epoch or is_last:
                self._fetch(pending)
                pending = None
                if is_last:
                    self._check_last(micros)
                self._save(job.update + 1)
                saved = time.monotonic()
            if is_due[1]:
                raise SystemExit(128 + signal.SIGTERM)

    def _agree_on_count(self, rows: list[Row], budget: int) -> int:
        """Return the number of micro batches of this update: sharded devices must have equally many."""
        if not self.devices.is_sharded:
            return 1
        return int(self.devices.max_on_hosts([len(divide(rows, budget, self.pad_id))])[0])

    def _update(self, number: int, epoch: int, micros: list[MicroBatch]) -> _Pending:
        """Run one update; nothing in it waits for the device."""
        settings, devices = self.settings, self.devices
        torch.manual_seed(int(np.random.SeedSequence([settings.seed, number, devices.rank]).generate_state(1)[0]))
        if optimizer.set_phase(self.trained, number, settings):
            self._wrapped = devices.wrap(self.learner)
        counts = [
            sum(objectives.count_learned(micro.batch) for micro in micros),
            sum(len(micro.batch.pixels) for micro in micros),
            sum(micro.num_cut for micro in micros),
            sum(len(micro.rows) for micro in micros),
            sum(int(micro.batch.mask.sum()) for micro in micros),
            sum(micro.batch.mask.numel() for micro in micros),
        ]
        num_tokens, num_images, num_cut, num_rows, num_real, num_slots = devices.sum_on_hosts(counts)
        self.learner.train()
        sums = torch.zeros(2 + 2 * len(self.source_names), device=devices.device)
        for place, micro in enumerate(micros, start=1):
            with devices.accumulate(self._wrapped, is_last=place == len(micros)):
                losses = self._wrapped(micro.batch.to(devices.device))
                loss = objectives.combine(losses, settings, int(num_tokens), int(num_images))
                # The gradients are averaged over the devices, but the counts are sums over all of them.
                if loss.requires_grad:  # not of texts alone during the alignment
                    (loss * devices.num).backward()  # type: ignore[no-untyped-call]
            self._add(sums, losses, micro)
        lr = settings.lr * optimizer.set_rates(self._optimizer, number, self.num_updates, settings)
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), settings.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.history.num_samples += int(num_rows)
        self.history.num_tokens += int(num_tokens)
        self.history.num_cut_samples += int(num_cut)
        self._meter.count(number + 1, lr, epoch, num_rows, num_real, num_slots)
        return self._send(number + 1, devices.sum(sums), norm, num_tokens, num_images)

    def _send(self, step: int, sums: Tensor, norm: Tensor, num_tokens: float, num_images: float) -> _Pending:
        """Queue the copy of an update's values to the host."""
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        sums, norm = sums.to("cpu", non_blocking=True), norm.to("cpu", non_blocking=True)
        is_there = torch.cuda.Event() if self.devices.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        if is_there is not None:
            is_there.record()
        return _Pending(step, sums, norm, num_tokens, num_images, is_there)

    def _add(self, sums: Tensor, losses: objectives.Losses, micro: MicroBatch) -> None:
        """Add the losses of a micro batch, in all and by source."""
        sums[0] += losses.next_token.detach()
        sums[1] += losses.contrastive.detach()
        sources = torch.from_numpy(self.sources[micro.rows]).to(sums.device, non_blocking=True)
        num_sources = len(self.source_names)
        sums[2 : 2 + num_sources].index_add_(0, sources, losses.of_rows.float())
        sums[2 + num_sources :].index_add_(0, sources, losses.num_tokens.float())

    def _fetch(self, pending: _Pending | None) -> None:
        """Wait for an update, check its values and log them."""
        if pending is None:
            return
        if pending.is_there is not None:
            pending.is_there.synchronize()
        settings, sums, norm = self.settings, pending.sums.tolist(), float(pending.norm)
        loss = settings.next_token_weight * sums[0] / max(1, pending.num_tokens)
        loss += settings.contrastive_weight * sums[1] / max(1, pending.num_images)
        check_finite("the loss", loss, pending.step, settings)
        check_finite("the norm of the gradient", norm, pending.step, settings)
        self.history.losses.append(loss)
        num_sources = len(self.source_names)
        by_source = dict(zip(self.source_names, zip(sums[2:], sums[2 + num_sources :], strict=False), strict=True))
        if self.devices.is_main:
            self.log(self._meter.measure(pending.step, loss, norm, by_source), pending.step)

    def _save(self, step: int) -> None:
        check_weights(self.trained, step, self.settings)
        name = f"update-{step:08}"
        self.checkpoints.save(name, self.trained, self._optimizer, self.history)
        if self.devices.is_main:
            self.log.checkpoint(name, step, {"loss": self.history.losses[-1], **self._last_validation()})

    def _last_validation(self) -> dict[str, float]:
        losses = list(self.history.validation_losses.values())
        return {"validation_loss": losses[-1]} if losses else {}

    @torch.no_grad()
    def _validate(self, micros: list[MicroBatch]) -> Tensor:
        """Return the sum of the next-token losses and the number of learned tokens, (2,) float64."""
        self.learner.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.devices.device)
        for micro in micros:
            losses = self.learner(micro.batch.to(self.devices.device))
            sums[0] += losses.next_token if self.settings.next_token_weight else losses.contrastive
            sums[1] += losses.num_tokens.sum() if self.settings.next_token_weight else len(micro.batch.pixels)
        return sums

    def _end_validation(self, sums: Tensor) -> None:
        total, count = self.devices.sum(sums).tolist()
        step, loss = self.history.num_steps, total / max(1, count)
        check_finite("the validation loss", loss, step, self.settings)
        self.history.validation_losses[str(step)] = loss
        if self.devices.is_main:
            self.log({"validation_loss": loss}, step)
        if self.settings.validate_every and self.history.best_step == step:
            self.checkpoints.save(BEST, self.trained, None, self.history)
            if self.devices.is_main:
                self.log.checkpoint(BEST, step, {"loss": self.history.losses[-1], "validation_loss": loss})

    def _is_out_of_patience(self) -> bool:
        patience = self.settings.patience
        return patience is not None and self.history.count_worse() >= patience

    @torch.no_grad()
    def _check_last(self, micros: list[MicroBatch]) -> None:
        """Compute the loss of the last batch again: no other loss depends on the last update."""
        total = torch.zeros((), device=self.devices.device)
        for micro in micros:
            losses = self.learner(micro.batch.to(self.devices.device))
            total += losses.next_token + losses.contrastive
        check_finite("the loss after the update", float(self.devices.sum(total)), self.num_updates, self.settings)


def check_finite(what: str, value: float, step: int, settings: Train) -> None:
    """Raise ModelError if a value of an update is not finite."""
    if math.isfinite(value):
        return
    precision = " or set train.precision: fp32" if settings.precision != "fp32" else ""
    raise ModelError(
        f"update {step}: {what} is {value}; lower train.lr ({settings.lr}) or train.max_grad_norm "
        f"({settings.max_grad_norm}), raise train.warmup ({settings.warmup}){precision}"
    )


def check_weights(weights: Mapping[str, Tensor], step: int, settings: Train) -> None:
    """Raise ModelError if a weight is not finite after an update."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            check_finite(f"a weight of {name}", math.nan, step, settings)
