"""The learning rate schedule: linear warmup, then cosine decay."""

from __future__ import annotations

import math


def scale(update: int, num_warmup: int, num_updates: int) -> float:
    """Return the factor of the learning rate at an update, counted from 0."""
    if update < num_warmup:
        return (update + 1) / num_warmup
    return 0.5 * (1 + math.cos(math.pi * (update - num_warmup) / max(1, num_updates - num_warmup)))
