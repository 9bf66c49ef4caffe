"""An image encoder with a linear head, fine-tuned on one classification dataset.

The head is linear, R^{2d x m}, on the two pooled vectors of the encoder (`towers`); all encoders get the same recipe.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable

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
from openmedq.training.schedule import scale

WARMUP = 0.1  # share of the updates

Batches = Iterable[tuple[NDArray[np.int64], Tensor]]  # rows by number, and their pixels (B, 3, S, S) uint8


class Classifier(nn.Module):
    """Encoder and head: pixels (N, 3, S, S) uint8 to logits (N, m)."""

    def __init__(self, tower: Tower, num_classes: int) -> None:
        super().__init__()
        self.tower = tower
        self.head = nn.Linear(2 * tower.width, num_classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute logits (N, m), in fp32; a GPU computes the rest in bf16."""
        _, mean, std, _ = self.tower.preprocessing
        device = self.head.weight.device
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            pooled = self.tower(normalize(pixels.to(device), mean, std))
            logits: Tensor = self.head(torch.cat(pooled, dim=1))
        return logits.float()


def fine_tune(
    tower: Tower,
    batches: Batches,
    targets: Tensor,
    num_updates: int,
    num_classes: int,
    settings: Transfer,
    seed: int,
    advance: Callable[[int], None],
) -> Classifier:
    """Fine-tune a copy of the encoder and a new head with AdamW, linear warm-up and cosine decay.

    Args:
        tower: any image encoder of `towers`.
        batches: one for each update.
        targets: (rows,) int64, the class of each row; or (rows, m) float, 1 for each of its classes.
        num_updates: number of batches.
        num_classes: m.
        settings: learning rate.
        seed: of the head's weights.
        advance: called with the number of rows of each update.

    Raises:
        ModelError: the loss is not finite.
    """
    torch.manual_seed(seed)
    device = next(tower.parameters()).device
    model = Classifier(copy.deepcopy(tower).requires_grad_(True), num_classes).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, fused=True)
    num_warmup = max(1, round(WARMUP * num_updates))
    schedule = LambdaLR(optimizer, lambda update: scale(update, num_warmup, num_updates))
    minimize = _objective(targets)
    for rows, pixels in batches:
        loss = minimize(model(pixels), targets[torch.from_numpy(rows)].to(device))
        if not math.isfinite(loss.item()):
            raise ModelError(f"transfer: the loss is {loss.item()}; lower transfer.lr ({settings.lr})")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        advance(len(rows))
    return model.eval()


def _objective(targets: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy; for targets with several classes a row, binary cross-entropy of each class.

    Positive rows of a class are weighted so that they count as much as its negative rows. Without the weight, classes
    that few rows have are never predicted.
    """
    if not targets.is_floating_point():
        return functional.cross_entropy
    num_positive = targets.sum(dim=0)
    weight = torch.where(num_positive > 0, (len(targets) - num_positive) / num_positive.clamp(min=1), 1.0)

    def minimize(logits: Tensor, expected: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(logits, expected, pos_weight=weight.to(logits.device))

    return minimize


@torch.inference_mode()
def predict(model: Classifier, batches: Batches, *, is_multi_label: bool = False) -> list[list[float]]:
    """Probabilities (rows, m): softmax over the classes, or a sigmoid of each class if `is_multi_label`."""
    found: list[list[float]] = []
    for _, pixels in batches:
        logits = model(pixels)
        found += (logits.sigmoid() if is_multi_label else logits.softmax(dim=1)).tolist()
    return found
