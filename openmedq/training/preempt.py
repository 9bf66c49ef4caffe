"""SIGTERM (a preemption by Slurm, a cancellation by Prefect): training saves a checkpoint before it ends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event


@contextmanager
def catch_sigterm() -> Iterator[Event]:
    """Meanwhile, SIGTERM sets the event that is yielded, instead of ending the process. Only in the main thread."""
    requested, before = Event(), signal.getsignal(signal.SIGTERM)
    with suppress(ValueError):  # in another thread, the process ends at once, as before
        signal.signal(signal.SIGTERM, lambda *_: requested.set())
    try:
        yield requested
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, before)
