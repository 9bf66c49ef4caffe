"""Collate encoded samples and their images into batches.

The shapes on the way from a sample to the loss (a test checks them):

    Sample
      | prompt.encode         ids (T,)  labels (T,), -100 on the prompt and on image slots
      | pixels.decode         (3, S, S) uint8 for each of its images
    Batch                     pixels (N, 3, S, S)   ids (B, T)   labels (B, T)   mask (B, T)
      | pixels.normalize      (N, 3, S, S) float32
      | vision tower          (N, 1 + P, Dv), before the last normalization; the class token is dropped
      | projector             (N, P, D)
      | placed at image slots (B, T, D): N x P slots, in the order of the images
      | language model        logits (B, T, V)
    loss                      next-token cross-entropy on the labels

N counts the images of all B samples; it is 0 in a batch without images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from openmedq.model.pixels import normalize
from openmedq.model.prompt import IGNORED


@dataclass(frozen=True, slots=True)
class Batch:
    """The input of one forward pass. `mask` is 0 on padding."""

    pixels: Tensor  # (N, 3, S, S) uint8
    ids: Tensor  # (B, T) int64
    labels: Tensor  # (B, T) int64
    mask: Tensor  # (B, T) int64
    learned: Tensor  # (L,) int64: places in the flat (B T,) with a label, without the first of a row; found on the CPU
    max_learned: int  # the most of them in one row

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device. The copies to a GPU are queued, from pinned memory: nothing waits for it."""
        is_gpu = torch.device(device).type == "cuda"

        def move(tensor: Tensor) -> Tensor:
            return (tensor.pin_memory() if is_gpu and not tensor.is_cuda else tensor).to(device, non_blocking=is_gpu)

        ids, labels = move(self.ids), move(self.labels)
        return Batch(move(self.pixels), ids, labels, move(self.mask), move(self.learned), self.max_learned)

    def inputs(self, image_processor: Any) -> dict[str, Tensor]:
        """Return the arguments of `forward` and `generate`, with pixels normalized as the processor does.

        The encoder does not run on a batch without images.
        """
        inputs = {"input_ids": self.ids, "attention_mask": self.mask}
        if len(self.pixels):
            inputs["pixel_values"] = normalize(self.pixels, image_processor.image_mean, image_processor.image_std)
        return inputs


def collate(
    ids: Sequence[Tensor],
    pixels: Sequence[Tensor],
    *,
    pad_id: int,
    labels: Sequence[Tensor] | None = None,
    side: str = "right",
) -> Batch:
    """Pad ids and labels, each (T_i,), to (B, T): on the right for training, on the left for generation.

    `pixels` holds the images of all samples in order, each (3, S, S) uint8.
    """
    labels = [torch.full_like(row, IGNORED) for row in ids] if labels is None else labels

    def pad(rows: Sequence[Tensor], value: int) -> Tensor:
        return pad_sequence(list(rows), batch_first=True, padding_value=value, padding_side=side)

    padded = pad(labels, IGNORED)
    is_learned = padded != IGNORED
    is_learned[:, 0] = False  # no state precedes it
    return Batch(
        pixels=torch.stack(list(pixels)) if pixels else torch.zeros(0, 3, 0, 0, dtype=torch.uint8),
        ids=pad(ids, pad_id),
        labels=padded,
        mask=pad([torch.ones_like(row) for row in ids], 0),
        learned=is_learned.flatten().nonzero()[:, 0],
        max_learned=int(is_learned.sum(dim=1).max()),
    )


def blank(pixels: Tensor, level: float) -> Tensor:
    """Replace an image, (3, S, S) uint8, by uniform gray; `level` is in [0, 1].

    Blank-image augmentation: it teaches the model to fall back to the language prior.
    """
    return torch.full_like(pixels, round(255 * level))
