"""The memory that a call takes."""

import tracemalloc
from collections.abc import Callable


def measure_peak(call: Callable[[], object]) -> int:
    """Most bytes that were allocated at once during the call, by any thread."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def takes_less_than(limit_bytes: int, call: Callable[[], object]) -> bool:
    """Whether one of three calls does: threads that other tests have left may allocate during some of them."""
    return any(measure_peak(call) < limit_bytes for _ in range(3))
