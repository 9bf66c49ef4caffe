"""Speed of a training: what is shown on the terminal and logged beside the losses. No output depends on it.

The time of an update is from the end of the one before to its own end, with the wait for its data, and without the
validations and checkpoints in between.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import psutil
import torch

from openmedq.training.loader import Job

SOURCE_UPDATES = 20  # updates between the losses by source
GIB = 2**30

T = TypeVar("T")


class _Counts(NamedTuple):
    lr: float
    epoch: int
    num_rows: float
    num_real: float  # tokens without padding
    num_slots: float  # tokens with padding
    waited_s: float  # for data


class Meter:
    """Counts samples, tokens and waits; `advance` shows them with the progress."""

    def __init__(self, num_updates: int, device: torch.device, advance: Callable[..., None]) -> None:
        self._num_updates, self._device, self._advance = num_updates, device, advance
        self._counts: dict[int, _Counts] = {}  # by step
        self._ended_s, self._waited_s = time.monotonic(), 0.0
        self._by_source: dict[str, tuple[float, float]] = {}

    def restart(self) -> None:
        """Begin the time of the next update after a validation or a checkpoint: now, or with the wait for its data."""
        self._ended_s = time.monotonic() - self._waited_s

    def wait_for(self, jobs: Iterator[tuple[Job, T]]) -> Iterator[tuple[Job, T]]:
        """Yield the jobs; the time until an update is there counts as its wait for data."""
        while True:
            started_s = time.monotonic()
            taken = next(jobs, None)
            if taken is None:
                return
            self._waited_s = 0.0 if taken[0].update is None else time.monotonic() - started_s
            yield taken

    def count(self, step: int, lr: float, epoch: int, num_rows: float, num_real: float, num_slots: float) -> None:
        """Count an update that was queued."""
        self._counts[step] = _Counts(lr, epoch, num_rows, num_real, num_slots, self._waited_s)
        self._waited_s = 0.0

    def measure(
        self, step: int, ended_s: float, loss: float, norm: float, by_source: Mapping[str, tuple[float, float]]
    ) -> dict[str, float]:
        """Return the metrics of an update that has ended; `by_source` is the sum of losses and of learned tokens.

        `ended_s` is when it ended, by time.monotonic(): not now, because two losses may be fetched at once.
        """
        counts = self._counts.pop(step)
        seconds, self._ended_s = max(1e-9, ended_s - self._ended_s), ended_s
        metrics = {
            "loss": loss,
            "lr": counts.lr,
            "grad_norm": norm,
            "epoch": counts.epoch,
            "samples_per_second": counts.num_rows / seconds,
            "tokens_per_second": counts.num_real / seconds,
            "padding": 1 - counts.num_real / max(1.0, counts.num_slots),
            "data_wait_s": counts.waited_s,
            "memory_gb": self._measure_memory(),
        }
        metrics |= self._add_sources(step, by_source)
        shown = f"train: epoch {counts.epoch + 1}, loss {loss:.3f}, {metrics['samples_per_second']:.1f} samples/s, "
        shown += f"{metrics['tokens_per_second']:,.0f} tokens/s, {metrics['padding']:.0%} padding, "
        self._advance(1, f"{shown}{metrics['data_wait_s']:.2f} s for data, {metrics['memory_gb']:.1f} GB")
        return metrics

    def _add_sources(self, step: int, by_source: Mapping[str, tuple[float, float]]) -> dict[str, float]:
        """Add up the losses by source; return their means every `SOURCE_UPDATES` updates."""
        for name, (loss, num_tokens) in by_source.items():
            before = self._by_source.get(name, (0.0, 0.0))
            self._by_source[name] = (before[0] + loss, before[1] + num_tokens)
        if step % SOURCE_UPDATES and step != self._num_updates:
            return {}
        means = {f"loss_of/{name}": loss / count for name, (loss, count) in self._by_source.items() if count}
        self._by_source = {}
        return means

    def _measure_memory(self) -> float:
        """Return the peak of the GPU's memory, or the memory of this process, in GiB."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / GIB
        return float(psutil.Process().memory_info().rss) / GIB
