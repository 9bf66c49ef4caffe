"""SIGTERM (a preemption by Slurm, a cancellation by Prefect): training saves a checkpoint before it ends."""

from __future__ import annotations

import signal
from contextlib import suppress
from types import TracebackType
from typing import Any


class Preemption:
    """While it is open, SIGTERM sets `is_requested` instead of ending the process. Only in the main thread."""

    is_requested = False

    def __enter__(self) -> Preemption:
        def request(number: int, frame: object) -> None:
            self.is_requested = True

        self._before: Any = None
        with suppress(ValueError):  # in another thread, the process ends at once, as before
            self._before = signal.signal(signal.SIGTERM, request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
