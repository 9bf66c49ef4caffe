"""The learning rate over the updates of a training; how many of them warm up is for the training to say."""

from __future__ import annotations

import math


def scale(update: int, num_warmup: int, num_updates: int) -> float:
    """The share of the full rate at an update, counted from 0: up in a line, then down in a cosine towards zero."""
    if update < num_warmup:
        return (update + 1) / num_warmup
    return 0.5 * (1 + math.cos(math.pi * (update - num_warmup) / max(1, num_updates - num_warmup)))
