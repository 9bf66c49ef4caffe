"""The jobs of a training: its updates, and the validations between them and after the last one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openmedq.config import Train
from openmedq.training.history import History
from openmedq.training.loader import Job
from openmedq.training.order import Order

BLANKS = 1  # stream of random numbers, beside the order's


@dataclass(frozen=True, slots=True)
class Plan:
    """Lists jobs, in an order that depends on the settings and the data alone."""

    order: Order
    held_out: NDArray[np.int64]  # validation rows of the dataset
    settings: Train
    num_updates: int

    def list_jobs(self, history: History) -> Iterator[Job]:
        """Yield the jobs that are left after a history, which grows meanwhile."""
        done = history.num_steps
        if self._is_validated(done) and str(done) not in history.validation_losses:
            yield from self._validate()  # the checkpoint preceded the validation
        for step, job in enumerate(self.order.updates(done, self.num_updates), start=done + 1):
            if self.is_out_of_patience(history):
                return
            yield job
            if self._is_validated(step):
                yield from self._validate()

    def is_out_of_patience(self, history: History) -> bool:
        """Return whether the training stops early."""
        patience = self.settings.patience
        return patience is not None and history.count_worse() >= patience

    def draw_levels(self, job: Job) -> NDArray[np.float32]:
        """Draw the blank-image augmentation of an update: NaN, or the gray level of the images of a row."""
        if job.update is None:
            return np.full(len(job.rows), np.nan, np.float32)
        drawn = np.random.default_rng([self.settings.seed, BLANKS, job.update]).random((2, len(job.rows)))
        return np.where(drawn[0] < self.settings.blank_share, drawn[1], np.nan).astype(np.float32)

    def _is_validated(self, step: int) -> bool:
        """Return whether a validation follows `step` updates; one follows the last update.

        There is none in the alignment: its weights have no adapter, so they can't be the best, and must not end it.
        """
        every = self.settings.validate_every or self.num_updates
        is_due = step % every == 0 or step == self.num_updates
        return bool(len(self.held_out)) and is_due and step > self.settings.align_steps

    def _validate(self) -> Iterator[Job]:
        rows, size, max_rows = self.held_out, self.settings.batch_size, self.settings.validate_rows
        if max_rows < len(rows):
            rows = np.sort(np.random.default_rng([self.settings.seed]).choice(rows, max_rows, replace=False))
        for start in range(0, len(rows), size):
            yield Job(rows[start : start + size], None, ends_validation=start + size >= len(rows))
