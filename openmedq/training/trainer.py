"""The training loop: AdamW updates over micro batches, validations and checkpoints, on one or several devices.

Each token of an update has the same weight, for any number of micro batches and devices. Random numbers of an update
follow from the seed and its number, so that a training resumes without their state.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from openmedq.config import Train
from openmedq.errors import ModelError, StaleError
from openmedq.storage.progress import Log, progress
from openmedq.training import objectives, optimizer
from openmedq.training.checkpoint import Checkpoints
from openmedq.training.data import PASS_PARAMETERS, EncodedRows, MicroBatch, Row, divide
from openmedq.training.devices import Devices
from openmedq.training.history import History, check_finite, check_weights
from openmedq.training.loader import Job, load
from openmedq.training.meter import Meter
from openmedq.training.order import Order
from openmedq.training.plan import Plan
from openmedq.training.preempt import catch_sigterm


class _Pending(NamedTuple):
    """What an update computed; it is fetched after the next one has been queued, without waiting for that one."""

    step: int
    sums: Tensor  # (2 + 2 S,): next-token and contrastive loss, then loss and tokens by source
    norm: Tensor  # ()
    num_tokens: float
    num_images: float
    queued_s: float  # by time.monotonic(); on a CPU, the update has ended then
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
    log: Log  # of the main process; NoLog in others
    checkpoints: Checkpoints
    num_workers: int = 0
    pad_id: int = 0

    def train(self) -> History:
        """Train the learner in place.

        Raises:
            ModelError: a loss or a gradient is not finite.
            StaleError: the processes do not find the same checkpoint; the best weights are damaged.
            SystemExit: the process was asked to end (SIGTERM); a checkpoint was written.
        """
        self.num_updates = self.order.count_updates(self.settings.num_epochs, self.settings.max_steps)
        self._plan = Plan(self.order, self.held_out, self.settings, self.num_updates)
        self.trained = {name: each for name, each in self.learner.named_parameters() if each.requires_grad}
        num_parameters = sum(each.numel() for each in self.learner.parameters())
        self._pass_tokens = PASS_PARAMETERS[self.devices.device.type] // num_parameters
        self._optimizer = optimizer.build(self.trained, self.settings)
        self.history = self.checkpoints.resume(self.trained, self._optimizer)
        self._check_start()
        optimizer.set_phase(self.trained, self.history.num_steps, self.settings)
        self._wrapped = self.devices.wrap(self.learner)
        self._pending: _Pending | None = None
        self._saved_step, self._saved_s = self.history.num_steps, time.monotonic()
        jobs = load(
            self.dataset,
            self._plan.list_jobs(self.history),
            self._plan.draw_levels,
            self.num_workers,
            self.devices.rank,
            self.devices.num,
        )
        with closing(jobs), catch_sigterm() as requested, progress("train", self.num_updates) as advance:
            advance(self.history.num_steps)
            self._meter = Meter(self.num_updates, self.devices.device, advance)
            self._run(self._take(jobs, requested))
            self._save()
        step: int | None = self.history.num_steps
        if self.settings.select == "best":
            self.checkpoints.load_best(self.trained, self.history)
            step = self.history.best_step
        self.history.validation_loss = self.history.validation_losses.get(str(step))
        return self.history

    def _check_start(self) -> None:
        done = self.history.num_steps
        first, last = self.devices.max_on_hosts([-done, done])
        if -first != last:
            raise StaleError(
                f"{self.checkpoints.folder}: the processes find checkpoints of updates {-first:.0f} and {last:.0f}; "
                "all machines must share the folder"
            )

    def _take(self, jobs: Iterator[tuple[Job, list[Row]]], requested: Event) -> Iterator[tuple[Job, list[Row]]]:
        """Yield the jobs. Between them, save a checkpoint if it is time, or if a process was asked to end."""
        try:
            for taken in self._meter.wait_for(jobs):
                self._pause(requested)
                yield taken
        except ModelError:
            if not requested.is_set():  # else the loader processes got the signal, too
                raise
        self._pause(requested)

    def _pause(self, requested: Event) -> None:
        is_due = time.monotonic() - self._saved_s > 60 * self.settings.checkpoint_minutes
        any_due, any_requested = self.devices.max_on_hosts([is_due, requested.is_set()])
        if any_due or any_requested:
            self._save()
        if any_requested:
            raise SystemExit(128 + signal.SIGTERM)

    def _run(self, taken: Iterator[tuple[Job, list[Row]]]) -> None:
        """Run the updates and the validations between them."""
        sums = torch.zeros(2, dtype=torch.float64, device=self.devices.device)
        for job, rows in taken:
            if self._plan.is_out_of_patience(self.history):  # these rows were loaded ahead
                continue
            if job.update is None:
                self._fetch()
                sums += self._validate(rows)
                if job.ends_validation:
                    self._end_validation(sums)
                    sums.zero_()
                    self._meter.restart()
                continue
            micros = self._divide(rows)
            current = self._update(job.update, job.epoch, micros)
            self._fetch()
            self._pending = current
            is_last = job.update + 1 == self.num_updates
            if is_last:
                self._fetch()
                self._check_last(micros)
            if is_last or job.ends_epoch:
                self._save()

    def _divide(self, rows: list[Row]) -> list[MicroBatch]:
        """Divide rows into micro batches, as many on all devices if forward passes wait for each other."""
        limits = int(self.settings.micro_batch_size) * self.settings.max_tokens, self._pass_tokens, self.pad_id
        micros = divide(rows, *limits)
        if self.devices.num == 1 or not (self.devices.is_sharded or self.settings.contrastive_weight):
            return micros
        return divide(rows, *limits, int(self.devices.max_on_hosts([len(micros)])[0]))

    def _update(self, number: int, epoch: int, micros: list[MicroBatch]) -> _Pending:
        """Run one update; nothing in it waits for the device."""
        settings, devices = self.settings, self.devices
        torch.manual_seed(int(np.random.SeedSequence([settings.seed, number, devices.rank]).generate_state(1)[0]))
        if optimizer.set_phase(self.trained, number, settings):
            self._wrapped = devices.wrap(self.learner)
        counts = [
            sum(len(micro.batch.learned) for micro in micros),
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
                    (loss * devices.num).backward()
            self._add(sums, losses, micro)
        lr = settings.lr * optimizer.set_rates(self._optimizer, number, self.num_updates, settings)
        if not num_images:  # as on several devices, which run the encoder on a blank image
            self._fill_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), settings.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.history.num_samples += int(num_rows)
        self.history.num_tokens += int(num_tokens)
        self.history.num_cut_samples += int(num_cut)
        self._meter.count(number + 1, lr, epoch, num_rows, num_real, num_slots)
        return self._send(number + 1, devices.sum(sums), norm, num_tokens, num_images)

    def _fill_gradients(self) -> None:
        """Set absent gradients to zero, so that all trained parameters are decayed."""
        for parameter in self.trained.values():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def _send(self, step: int, sums: Tensor, norm: Tensor, num_tokens: float, num_images: float) -> _Pending:
        """Queue the copy of an update's values to the host."""
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        sums, norm = sums.to("cpu", non_blocking=True), norm.to("cpu", non_blocking=True)
        is_there = torch.cuda.Event() if self.devices.device.type == "cuda" else None
        if is_there is not None:
            is_there.record()
        return _Pending(step, sums, norm, num_tokens, num_images, time.monotonic(), is_there)

    def _add(self, sums: Tensor, losses: objectives.Losses, micro: MicroBatch) -> None:
        """Add the losses of a micro batch, in all and by source."""
        sums[0] += losses.next_token.detach()
        sums[1] += losses.contrastive.detach()
        sources = torch.from_numpy(self.sources[micro.rows]).to(sums.device, non_blocking=True)
        num_sources, num_rows = len(self.source_names), len(sources)  # no row: the device waited for others
        sums[2 : 2 + num_sources].index_add_(0, sources, losses.of_rows[:num_rows].float())
        sums[2 + num_sources :].index_add_(0, sources, losses.num_tokens[:num_rows].float())

    def _fetch(self) -> None:
        """Wait for the pending update, check its values and log them."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        ended_s = pending.queued_s
        if pending.is_there is not None:
            pending.is_there.synchronize()
            ended_s = time.monotonic()
        settings, sums, norm = self.settings, pending.sums.tolist(), float(pending.norm)
        loss = settings.next_token_weight * sums[0] / max(1, pending.num_tokens)
        loss += settings.contrastive_weight * sums[1] / max(1, pending.num_images)
        check_finite("the loss", loss, pending.step, settings)
        check_finite("the norm of the gradient", norm, pending.step, settings)
        self.history.losses.append(loss)
        names = self.source_names if settings.next_token_weight else []  # the losses by source are those of tokens
        pairs = zip(sums[2:], sums[2 + len(self.source_names) :], strict=False)
        by_source = dict(zip(names, pairs, strict=False))
        self.log(self._meter.measure(pending.step, ended_s, loss, norm, by_source), pending.step)

    def _save(self) -> None:
        """Save a checkpoint, if there was an update since the last one."""
        self._fetch()
        step, self._saved_s = self.history.num_steps, time.monotonic()
        if step == self._saved_step:
            return
        check_weights(self.trained, step, self.settings)
        name = self.checkpoints.save(self.trained, self._optimizer, self.history)
        self.log.checkpoint(name, step, {"loss": self.history.losses[-1], **self._last_validation()})
        self._saved_step = step
        self._meter.restart()

    def _last_validation(self) -> dict[str, float]:
        losses = list(self.history.validation_losses.values())
        return {"validation_loss": losses[-1]} if losses else {}

    @torch.no_grad()
    def _validate(self, rows: list[Row]) -> Tensor:
        """Return the sum of the next-token losses and the number of learned tokens, (2,) float64."""
        self.learner.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.devices.device)
        for micro in self._divide(rows):
            losses = self.learner(micro.batch.to(self.devices.device))
            sums[0] += losses.next_token if self.settings.next_token_weight else losses.contrastive
            sums[1] += losses.num_tokens.sum() if self.settings.next_token_weight else len(micro.batch.pixels)
        return sums

    def _end_validation(self, sums: Tensor) -> None:
        """Log the loss of a validation; keep the weights if it is the lowest of several."""
        step, loss = self.history.num_steps, self._average(sums)
        self.history.validation_losses[str(step)] = loss
        self.log({"validation_loss": loss}, step)
        if self.settings.validate_every and self.history.best_step == step:
            name = self.checkpoints.save_best(self.trained, self.history)
            self.log.checkpoint(name, step, {"loss": self.history.losses[-1], "validation_loss": loss})

    def _average(self, sums: Tensor) -> float:
        total, count = self.devices.sum(sums).tolist()
        loss: float = total / max(1, count)
        check_finite("the validation loss", loss, self.history.num_steps, self.settings)
        return loss

    @torch.no_grad()
    def _check_last(self, micros: list[MicroBatch]) -> None:
        """Compute the loss of the last batch again: no other loss depends on the last update."""
        total = torch.zeros((), device=self.devices.device)
        for micro in micros:
            losses = self.learner(micro.batch.to(self.devices.device))
            total += losses.next_token + losses.contrastive
        check_finite("the loss after the update", float(self.devices.sum(total)), self.num_updates, self.settings)
