"""Losses and counts of a training, which its metrics and its checkpoints contain, and checks that they are finite."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from openmedq.config import Train
from openmedq.errors import ModelError


@dataclass
class History:
    """Losses and counts; no times, so that they are reproducible."""

    losses: list[float] = field(default_factory=list)  # one per update
    num_samples: int = 0
    num_tokens: int = 0  # learned tokens
    num_cut_samples: int = 0
    validation_losses: dict[str, float] = field(default_factory=dict)  # number of updates (JSON has no int keys): loss
    validation_loss: float | None = None  # of the weights that are kept

    @property
    def num_steps(self) -> int:
        """Updates done."""
        return len(self.losses)

    @property
    def best_step(self) -> int | None:
        """The updates before the first of the lowest validation losses; None without a validation."""
        if not self.validation_losses:
            return None
        return int(min(self.validation_losses, key=lambda step: (self.validation_losses[step], int(step))))

    def count_worse(self) -> int:
        """Return the number of validations since the best."""
        best = self.best_step
        return 0 if best is None else sum(int(step) > best for step in self.validation_losses)

    def as_metrics(self) -> dict[str, float]:
        """Return the counts, the mean loss of the last tenth of the updates, and the validation loss."""
        tail = self.losses[-max(1, len(self.losses) // 10) :]
        validation = {} if self.validation_loss is None else {"validation_loss": self.validation_loss}
        return {
            "loss": sum(tail) / len(tail),
            "num_steps": self.num_steps,
            "num_samples": self.num_samples,
            "num_tokens": self.num_tokens,
            "num_cut_samples": self.num_cut_samples,
        } | validation


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
