"""Training objectives: next-token cross-entropy and an optional contrastive loss.

The losses are sums, not means: in an update of several batches on several devices, each token has the same weight.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from openmedq.model.batch import Batch
from openmedq.model.prompt import IGNORED

SCALE, BIAS = 10.0, -5.0  # of cosine similarities, before the sigmoid


class Losses(NamedTuple):
    """The losses of one batch."""

    next_token: Tensor  # (), the sum over tokens with labels
    contrastive: Tensor  # (), the sum over images; 0 if it is not computed


def count_learned(batch: Batch) -> int:
    """Count the tokens in the cross-entropy: those with labels, except the first of a row."""
    return int((batch.labels[:, 1:] != IGNORED).sum())


def compute(model: nn.Module, batch: Batch, *, is_contrastive: bool = False) -> Losses:
    """Compute the losses; the logits (B, T, V) of each position are compared with the next label."""
    outputs = model(**batch.inputs(), use_cache=False)
    logits = outputs.logits[:, :-1].float()  # (B, T - 1, V)
    next_token = functional.cross_entropy(
        logits.flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )
    contrastive = logits.new_zeros(())
    if is_contrastive and len(batch.pixels) == len(batch.ids):  # pairs exist only with one image per sample
        contrastive = contrast(_pool_images(outputs.image_hidden_states, len(batch.ids)), *_pool_answers(model, batch))
    return Losses(next_token, contrastive)


def contrast(images: Tensor, texts: Tensor, is_same: Tensor) -> Tensor:
    """Compute the pairwise sigmoid loss of SigLIP (Zhai et al., 2023), summed over images.

    `images` and `texts` are (B, D). `is_same` (B, B) is true where text j equals the text of image i: many answers in a
    batch are "yes", and they must not count as negative pairs.
    """
    similarity = functional.normalize(images, dim=-1) @ functional.normalize(texts, dim=-1).T  # (B, B)
    sign = torch.where(is_same, 1.0, -1.0)
    return -functional.logsigmoid(sign * (SCALE * similarity + BIAS)).sum()


def _pool_images(tokens: Tensor, num_images: int) -> Tensor:
    """(N P, D) projected patches -> (N, D)."""
    return tokens.reshape(num_images, -1, tokens.shape[-1]).float().mean(dim=1)


def _pool_answers(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the mean of the last hidden states over each answer, (B, D), and which answers are equal, (B, B).

    The answers are run again without image and prompt: their states in the first pass depend on the image.
    """
    is_answer = batch.labels != IGNORED
    order = torch.argsort(is_answer.int(), dim=1, descending=True, stable=True)  # moves the answers to the front
    num_tokens = int(is_answer.sum(dim=1).max())
    mask = is_answer.gather(1, order)[:, :num_tokens]
    ids = batch.ids.gather(1, order)[:, :num_tokens] * mask
    plain = getattr(model, "module", model)  # DistributedDataParallel supports one forward pass per update
    states = plain(input_ids=ids, attention_mask=mask.long(), use_cache=False, output_hidden_states=True).hidden_states
    last = states[-1].float() * mask[..., None]
    pooled = last.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
    is_same = ((ids[:, None] == ids[None]) & (mask[:, None] == mask[None])).all(dim=-1)
    return pooled, is_same
