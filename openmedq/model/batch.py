"""From samples to batches.

One sample's journey, from here to the loss (a test holds the shapes):

    Sample
      | prompt.encode         ids (T,)  labels (T,), -100 on the prompt and on image slots
      | read_pixels           (3, S, S) for each of its pictures
    Batch                     pixels (N, 3, S, S)   ids (B, T)   labels (B, T)   mask (B, T)
      | vision tower          (N, 1 + P, Dv), before the last normalization; the class token goes
      | projector             (N, P, D)
      | placed at image slots (B, T, D): N x P slots, in the order of the pictures
      | language model        logits (B, T, V)
    loss                      next-token cross-entropy on the labels

B samples hold N pictures together; a sample without one has no slot, and a batch without one has N = 0.
Legend: B batch, T tokens, N pictures, P patches, S side in px, D width, V vocabulary.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import PIL.Image
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from openmedq.errors import ModelError
from openmedq.model.prompt import IGNORED
from openmedq.schema import Image


@dataclass(frozen=True, slots=True)
class Batch:
    """What the model takes at once. `mask` is 0 on padding."""

    pixels: Tensor  # (N, 3, S, S) float32
    ids: Tensor  # (B, T) int64
    labels: Tensor  # (B, T) int64
    mask: Tensor  # (B, T) int64

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        return Batch(*(tensor.to(device) for tensor in (self.pixels, self.ids, self.labels, self.mask)))

    def inputs(self) -> dict[str, Tensor]:
        """The arguments of the model's `forward` and `generate`; without pictures the encoder is not run."""
        inputs = {"input_ids": self.ids, "attention_mask": self.mask}
        return {**inputs, "pixel_values": self.pixels} if len(self.pixels) else inputs


def collate(
    ids: Sequence[Tensor],
    pixels: Sequence[Tensor],
    *,
    pad_id: int,
    labels: Sequence[Tensor] | None = None,
    side: str = "right",
) -> Batch:
    """Pad ids and labels, each (T_i,), to (B, T): on the right for training, on the left where generation goes on.

    `pixels` are those of all samples in turn, each (3, S, S).
    """
    labels = [torch.full_like(row, IGNORED) for row in ids] if labels is None else labels

    def pad(rows: Sequence[Tensor], value: int) -> Tensor:
        return pad_sequence(list(rows), batch_first=True, padding_value=value, padding_side=side)

    return Batch(
        pixels=torch.stack(list(pixels)) if pixels else torch.zeros(0, 3, 0, 0),
        ids=pad(ids, pad_id),
        labels=pad(labels, IGNORED),
        mask=pad([torch.ones_like(row) for row in ids], 0),
    )


def blank(
    pixels: Tensor, share: float, mean: Sequence[float], std: Sequence[float], generator: torch.Generator
) -> Tensor:
    """(N, 3, S, S) with a share of the pictures, drawn one by one, in place of which stands an even gray, also drawn.

    A model that has seen empty fields answers them with what is frequent; one that has not answers them anyhow.
    """
    drawn = torch.rand(2, len(pixels), 1, 1, 1, generator=generator)
    centers, spreads = (torch.tensor(values).reshape(3, 1, 1) for values in (mean, std))
    return torch.where(drawn[0] < share, (drawn[1] - centers) / spreads, pixels)


def read_pixels(image: Image, image_processor: Any) -> Tensor:
    """A picture as the saved processor makes it, (3, S, S): gray in three channels, resized, normalized."""
    if image.data is None and image.path is None:
        raise ModelError(f"{image.image_id}: the sample was read without its pictures")
    with PIL.Image.open(io.BytesIO(image.data) if image.data is not None else image.path) as picture:  # type: ignore[arg-type]
        pixels: Tensor = image_processor(picture.convert("RGB"), return_tensors="pt")["pixel_values"][0]
    return pixels
