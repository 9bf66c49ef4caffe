"""An image encoder with a linear head, fine-tuned on one classification dataset.

The head is linear, R^{2d x m}, on the two pooled vectors of the encoder (`towers`); all encoders get the same recipe.
The weights are those of the epoch with the lowest validation loss.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from openmedq.config import Transfer
from openmedq.errors import ModelError
from openmedq.evaluation.towers.tower import Tower
from openmedq.model.pixels import normalize
from openmedq.training.optimizer import scale

WARMUP = 0.1  # share of the updates

Batches = Iterable[tuple[NDArray[np.int64], Tensor]]  # rows by number, and their pixels (B, 3, S, S) uint8


class Classifier(nn.Module):
    """Encoder and head: pixels (N, 3, S, S) uint8 to logits (N, m)."""

    def __init__(self, tower: Tower, num_classes: int, *, is_bf16: bool) -> None:
        super().__init__()
        self.tower, self.is_bf16 = tower, is_bf16
        self.head = nn.Linear(2 * tower.width, num_classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute logits (N, m) in fp32, and what leads to them in bf16 if `is_bf16`."""
        _, mean, std, _ = self.tower.preprocessing
        device = self.head.weight.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.is_bf16):
            pooled = self.tower(normalize(pixels.to(device), mean, std))
            logits: Tensor = self.head(torch.cat(pooled, dim=1))
        return logits.float()


class Plan(NamedTuple):
    """The batches of a training: `num_epochs` times those of an epoch, then those of its validation."""

    batches: Batches
    num_epochs: int
    num_updates: int  # of an epoch
    num_validations: int  # batches
    fitted: NDArray[np.int64]  # the training rows, by number; the others validate


def fine_tune(
    tower: Tower,
    plan: Plan,
    targets: Tensor,
    num_classes: int,
    settings: Transfer,
    seed: int,
    advance: Callable[[int], None],
    *,
    is_bf16: bool = False,
) -> tuple[Classifier, int]:
    """Fine-tune a copy of the encoder and a new head with AdamW, linear warm-up and cosine decay.

    `targets` are (rows,) int64, the class of each row, or (rows, m) float, 1 for each of its classes. `seed` is that of
    the head's weights. `advance` is called with the number of rows of each update. Weights stay fp32 with `is_bf16`.

    Returns:
        The model of the epoch with the lowest mean loss of the validation rows, and its number, from 1.

    Raises:
        ModelError: a loss is not finite.
    """
    torch.manual_seed(seed)
    device = next(tower.parameters()).device
    model = Classifier(copy.deepcopy(tower).requires_grad_(True), num_classes, is_bf16=is_bf16).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, fused=True)
    num_updates = plan.num_epochs * plan.num_updates
    num_warmup = max(1, round(WARMUP * num_updates))
    schedule = LambdaLR(optimizer, lambda update: scale(update, num_warmup, num_updates))
    minimize = _objective(targets[torch.from_numpy(plan.fitted)].to(device))
    batches: Iterator[tuple[NDArray[np.int64], Tensor]] = iter(plan.batches)
    lowest, best, weights = math.inf, 0, model.state_dict()

    def measure(rows: NDArray[np.int64], pixels: Tensor) -> Tensor:
        return minimize(model(pixels), targets[torch.from_numpy(rows)].to(device))

    for epoch in range(1, plan.num_epochs + 1):
        total = torch.zeros((), device=device)  # stays on the device: reading it would wait for each update
        model.train()
        for rows, pixels in islice(batches, plan.num_updates):
            loss = measure(rows, pixels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach()
            advance(len(rows))
        validated = _validate(model, islice(batches, plan.num_validations), measure)
        for kind, value in (("training", total.item()), ("validation", validated)):
            if not math.isfinite(value):
                raise ModelError(f"epoch {epoch}: the {kind} loss is {value}; lower transfer.lr ({settings.lr})")
        if validated < lowest:
            lowest, best = validated, epoch
            weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(weights)
    return model.eval(), best


@torch.inference_mode()
def _validate(model: Classifier, batches: Batches, measure: Callable[[NDArray[np.int64], Tensor], Tensor]) -> float:
    """Mean loss of the rows."""
    model.eval()
    losses = [(measure(rows, pixels), len(rows)) for rows, pixels in batches]
    return sum(loss.item() * num_rows for loss, num_rows in losses) / sum(num_rows for _, num_rows in losses)


def _objective(targets: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy; for targets with several classes a row, binary cross-entropy of each class.

    Positive rows of a class are weighted so that they count as much as its negative rows. Without the weight, classes
    that few rows have are never predicted.
    """
    if not targets.is_floating_point():
        return functional.cross_entropy
    num_positive = targets.sum(dim=0)
    num_negative = len(targets) - num_positive
    is_mixed = (num_positive > 0) & (num_negative > 0)
    weight = torch.where(is_mixed, num_negative / num_positive.clamp(min=1), 1.0)
    return partial(functional.binary_cross_entropy_with_logits, pos_weight=weight)


@torch.inference_mode()
def predict(model: Classifier, batches: Batches, *, is_multi_label: bool = False) -> list[list[float]]:
    """Probabilities (rows, m): softmax over the classes, or a sigmoid of each class if `is_multi_label`."""
    found: list[list[float]] = []
    for _, pixels in batches:
        logits = model(pixels)
        found += (logits.sigmoid() if is_multi_label else logits.softmax(dim=1)).tolist()
    return found
