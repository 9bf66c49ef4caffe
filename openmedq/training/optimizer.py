"""AdamW with a learning rate and a decay for each part of the model, its schedule, and the phases of the training."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from openmedq.config import Train
from openmedq.config.base import Part

Trained = Mapping[str, nn.Parameter]  # what trains, by its name in the learner

_PARTS: tuple[tuple[str, Part], ...] = (
    ("lora_", "adapters"),
    ("vision_tower.", "encoder"),
    ("multi_modal_projector.", "projector"),
)


def find_part(name: str) -> Part:
    """Return the part of a trained parameter; word embeddings, the head and the temperature are `embeddings`."""
    return next((part for mark, part in _PARTS if mark in name), "embeddings")


def build(trained: Trained, settings: Train) -> torch.optim.AdamW:
    """Build AdamW; vectors (biases, norms, the temperature) have no decay. `rate` of a group is that of its part."""
    groups: dict[tuple[Part, bool], list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        groups.setdefault((find_part(name), parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "rate": settings.lr_of.get(part, settings.lr),
                "weight_decay": settings.weight_decay_of.get(part, settings.weight_decay) if is_matrix else 0.0,
            }
            for (part, is_matrix), parameters in groups.items()
        ],
        lr=settings.lr,
    )


def scale(update: int, num_warmup: int, num_updates: int) -> float:
    """Return the factor of the learning rate at an update, counted from 0: linear warm-up, then cosine decay."""
    if update < num_warmup:
        return (update + 1) / num_warmup
    return 0.5 * (1 + math.cos(math.pi * (update - num_warmup) / max(1, num_updates - num_warmup)))


def set_rates(optimizer: torch.optim.Optimizer, update: int, num_updates: int, settings: Train) -> float:
    """Set the learning rates of an update, counted from 0; return the factor of the schedule.

    The alignment (`align_steps`) has a warmup and a decay of its own.
    """
    start, end = (0, settings.align_steps) if update < settings.align_steps else (settings.align_steps, num_updates)
    length = max(1, end - start)
    factor = scale(update - start, round(settings.warmup * length), length)
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * factor
    return factor


def set_phase(trained: Trained, update: int, settings: Train) -> bool:
    """Freeze all but the projector during the alignment; return whether the set of trained parameters changed."""
    has_changed = False
    for name, parameter in trained.items():
        is_trained = update >= settings.align_steps or find_part(name) == "projector"
        has_changed |= parameter.requires_grad != is_trained
        parameter.requires_grad_(is_trained)
    return has_changed
