"""What training minimizes: next-token cross-entropy and, where asked for, a contrastive loss beside it.

The model does not know about prompts: labels say what is learned. Sums are returned, not means, so that an update made
of several batches, on several devices, weighs each token alike.
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
    """Of one batch."""

    next_token: Tensor  # (), the sum over learned tokens
    contrastive: Tensor  # (), the sum over pictures that have a text; 0 where it is not asked for


def count_learned(batch: Batch) -> int:
    """Tokens that the cross-entropy is summed over; the first of a row has nothing before it."""
    return int((batch.labels[:, 1:] != IGNORED).sum())


def compute(model: nn.Module, batch: Batch, *, is_contrastive: bool = False) -> Losses:
    """The losses of one batch: logits (B, T, V), each position against the label after it."""
    outputs = model(**batch.inputs(), use_cache=False)
    logits = outputs.logits[:, :-1].float()  # (B, T - 1, V)
    next_token = functional.cross_entropy(
        logits.flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )
    contrastive = logits.new_zeros(())
    if is_contrastive and len(batch.pixels) == len(batch.ids):  # one picture a sample: pairs are plain
        contrastive = contrast(
            _pool_pictures(outputs.image_hidden_states, len(batch.ids)), *_pool_answers(model, batch)
        )
    return Losses(next_token, contrastive)


def contrast(pictures: Tensor, texts: Tensor, is_same: Tensor) -> Tensor:
    """The pairwise sigmoid loss of SigLIP (Zhai et al., 2023), summed over pictures.

    `pictures` and `texts` are (B, D); `is_same` (B, B) says whether text j is, word for word, that of picture i: a
    batch of questions holds many a "yes", and none of them is the wrong text for another.
    """
    similarity = functional.normalize(pictures, dim=-1) @ functional.normalize(texts, dim=-1).T  # (B, B)
    sign = torch.where(is_same, 1.0, -1.0)
    return -functional.logsigmoid(sign * (SCALE * similarity + BIAS)).sum()


def _pool_pictures(tokens: Tensor, num_pictures: int) -> Tensor:
    """(N P, D) projected patches -> (N, D)."""
    return tokens.reshape(num_pictures, -1, tokens.shape[-1]).float().mean(dim=1)


def _pool_answers(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """(B, D), the mean of the language model's last states over each answer read alone; and (B, B), which are equal.

    The answers are run again, without picture and prompt: in the first run their states have seen the picture.
    """
    is_answer = batch.labels != IGNORED
    order = torch.argsort(is_answer.int(), dim=1, descending=True, stable=True)  # answers to the front
    num_tokens = int(is_answer.sum(dim=1).max())
    mask = is_answer.gather(1, order)[:, :num_tokens]
    ids = batch.ids.gather(1, order)[:, :num_tokens] * mask
    plain = getattr(model, "module", model)  # DistributedDataParallel follows one forward pass an update
    states = plain(input_ids=ids, attention_mask=mask.long(), use_cache=False, output_hidden_states=True).hidden_states
    last = states[-1].float() * mask[..., None]
    pooled = last.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
    is_same = ((ids[:, None] == ids[None]) & (mask[:, None] == mask[None])).all(dim=-1)
    return pooled, is_same
