"""An image encoder with a linear head, fine-tuned on one classification dataset.

The head is linear, R^{2d x m}, on [class token ; mean of the patch tokens]; all encoders get the same recipe.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from openmedq.config import Transfer
from openmedq.errors import ModelError
from openmedq.model.model import freeze_unused
from openmedq.training.schedule import scale

WARMUP = 0.1  # share of the updates


class Classifier(nn.Module):
    """Encoder and head: pixels (N, 3, S, S) to logits (N, m)."""

    def __init__(self, encoder: PreTrainedModel, width: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute logits (N, m) from the tokens that LLaVA projects, before the last normalization."""
        tokens = self.encoder(pixel_values=pixels, output_hidden_states=True).hidden_states[-1]  # (N, 1 + P, D)
        pooled = torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)  # (N, 2 D)
        logits: Tensor = self.head(pooled)
        return logits


def fine_tune(
    encoder: PreTrainedModel,
    read: Callable[[Sequence[int]], Tensor],
    targets: Tensor,
    num_classes: int,
    settings: Transfer,
    seed: int,
    advance: Callable[[int], None],
) -> Classifier:
    """Fine-tune a copy of the encoder and a new head with AdamW, linear warm-up and cosine decay.

    Args:
        encoder: any vision model of `openmedq.model.encoders`.
        read: returns the pixels (N, 3, S, S) of training rows by their numbers.
        targets: (rows,) int64, the class of each training row; or (rows, m) float, 1 for each of its classes.
        num_classes: m.
        settings: epochs, batch size, learning rate.
        seed: of the head's weights and of the order of rows.
        advance: called with the number of rows of each update.

    Raises:
        ModelError: the loss is not finite.
    """
    torch.manual_seed(seed)
    encoder = copy.deepcopy(encoder).requires_grad_(True)
    freeze_unused(encoder)
    device = next(encoder.parameters()).device
    model = Classifier(encoder, encoder.config.hidden_size, num_classes).to(device).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=settings.lr)
    num_updates = settings.num_epochs * math.ceil(len(targets) / settings.batch_size)
    num_warmup = max(1, round(WARMUP * num_updates))
    schedule = LambdaLR(optimizer, lambda update: scale(update, num_warmup, num_updates))
    generator = np.random.default_rng(seed)
    minimize = _objective(targets)
    for _ in range(settings.num_epochs):
        order = generator.permutation(len(targets))
        for start in range(0, len(order), settings.batch_size):
            rows = order[start : start + settings.batch_size].tolist()
            loss = minimize(model(read(rows).to(device)), targets[rows].to(device))
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
def predict(
    model: Classifier,
    read: Callable[[Sequence[int]], Tensor],
    num_rows: int,
    batch_size: int,
    *,
    is_multi_label: bool = False,
) -> list[list[float]]:
    """Probabilities (rows, m): softmax over the classes, or a sigmoid of each class if `is_multi_label`."""
    device = next(model.parameters()).device
    found: list[list[float]] = []
    for start in range(0, num_rows, batch_size):
        logits = model(read(range(start, min(start + batch_size, num_rows))).to(device))
        found += (logits.float().sigmoid() if is_multi_label else logits.float().softmax(dim=1)).tolist()
    return found
