"""Speed of a training: what is shown on the terminal and logged beside the losses. No output depends on it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple, TypeVar

import psutil
import torch

from openmedq.storage.progress import progress

SOURCE_UPDATES = 20  # updates between the losses by source
GIB = 2**30

T = TypeVar("T")


class _Counts(NamedTuple):
    lr: float
    epoch: int
    num_rows: float
    num_real: float  # tokens without padding
    num_slots: float  # tokens with padding
    seconds: float  # since the update before was queued
    waited_s: float  # of these, for data


class Meter:
    """Counts samples, tokens and waits; its context shows a progress bar."""

    def __init__(self, num_updates: int, num_done: int, device: torch.device) -> None:
        self._num_updates, self._num_done, self._device = num_updates, num_done, device
        self._counts: dict[int, _Counts] = {}  # by step
        self._queued = time.monotonic()
        self._waited_s = 0.0
        self._by_source: dict[str, tuple[float, float]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Meter:
        self._advance = self._stack.enter_context(progress("train", self._num_updates))
        self._advance(self._num_done)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def wait_for(self, items: Iterator[T]) -> Iterator[T]:
        """Yield the items; the time until they are there counts as the wait for data."""
        while True:
            started = time.monotonic()
            item = next(items, None)
            self._waited_s += time.monotonic() - started
            if item is None:
                return
            yield item

    def count(self, step: int, lr: float, epoch: int, num_rows: float, num_real: float, num_slots: float) -> None:
        """Count an update that was queued. Its time ends here: its loss is fetched later, the last two at once."""
        now = time.monotonic()
        seconds = max(1e-9, now - self._queued)
        self._counts[step] = _Counts(lr, epoch, num_rows, num_real, num_slots, seconds, self._waited_s)
        self._queued, self._waited_s = now, 0.0

    def measure(
        self, step: int, loss: float, norm: float, by_source: Mapping[str, tuple[float, float]]
    ) -> dict[str, float]:
        """Return the metrics of an update that has ended; `by_source` is the sum of losses and of learned tokens."""
        counts = self._counts.pop(step)
        metrics = {
            "loss": loss,
            "lr": counts.lr,
            "grad_norm": norm,
            "epoch": counts.epoch,
            "samples_per_second": counts.num_rows / counts.seconds,
            "tokens_per_second": counts.num_real / counts.seconds,
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
