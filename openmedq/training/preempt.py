"""SIGTERM (a preemption by Slurm, a cancellation by Prefect): training saves a checkpoint before it ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class _Requested(BaseException):
    """SIGTERM arrived during a wait."""


class Preemption:
    """While it is open, SIGTERM sets `is_requested` instead of ending the process. Only in the main thread."""

    is_requested = False
    _is_waiting = False

    def __enter__(self) -> Preemption:
        def request(number: int, frame: object) -> None:
            was_requested, self.is_requested = self.is_requested, True
            if self._is_waiting and not was_requested:
                raise _Requested

        self._before: Any = None
        with suppress(ValueError):  # in another thread, the process ends at once, as before
            self._before = signal.signal(signal.SIGTERM, request)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def until_requested(self, items: Iterator[T]) -> Iterator[T]:
        """Yield the items until SIGTERM arrives, which also ends the wait for an item."""
        try:
            while not self.is_requested:
                self._is_waiting = True
                item = next(items)
                self._is_waiting = False
                yield item
        except (StopIteration, _Requested):
            self._is_waiting = False
