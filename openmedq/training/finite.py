"""Checks that losses, gradients and weights are finite numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from openmedq.config import Train
from openmedq.errors import ModelError


def check_finite(what: str, value: float, step: int, settings: Train) -> None:
    """Raise ModelError if a value of an update is not finite."""
    if math.isfinite(value):
        return
    precision = " or set train.precision: fp32" if settings.precision != "fp32" else ""
    raise ModelError(
        f"update {step}: {what} is {value}; lower train.lr ({settings.lr}) or train.max_grad_norm "
        f"({settings.max_grad_norm}), raise train.warmup ({settings.warmup}){precision}"
    )


def check_weights(weights: Mapping[str, Tensor], step: int, settings: Train) -> None:
    """Raise ModelError if a weight is not finite after an update."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            check_finite(f"a weight of {name}", math.nan, step, settings)
