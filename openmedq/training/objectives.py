"""Training objectives: next-token cross-entropy and the pairwise sigmoid loss between images and answers.

The losses are sums, not means: the loss of an update does not depend on how its samples are divided into micro batches
and over devices.

The contrastive loss is SigLIP's (Zhai et al., 2023), not CLIP's softmax: many answers of a batch are equal ("yes"), so
that an image has several matching texts. Each pair is a term of its own, and a device without images adds zero. Its
negative pairs are those of one micro batch, over all devices.
"""

from typing import NamedTuple

import torch
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather
from torch.nn import functional

from openmedq.config import Train
from openmedq.model.batch import Batch

LOG_SCALE, BIAS = 2.302585092994046, -10.0  # the start of SigLIP's temperature, exp(log 10), and bias


class Losses(NamedTuple):
    """The losses of one micro batch."""

    next_token: Tensor  # (), the sum over learned tokens; 0 if it is not computed
    contrastive: Tensor  # (), the sum over images; 0 if it is not computed
    of_rows: Tensor  # (B,), `next_token` by row, without a gradient
    num_tokens: Tensor  # (B,), learned tokens by row


def combine(losses: Losses, settings: Train, num_tokens: int, num_images: int) -> Tensor:
    """Return the part of a micro batch in the loss of its update, which has `num_tokens` and `num_images` in all."""
    next_token = settings.next_token_weight * losses.next_token / max(1, num_tokens)
    return next_token + settings.contrastive_weight * losses.contrastive / max(1, num_images)


def cross_entropy(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of the logits (L, V) that precede the learned tokens: its sum, and by row (B,)."""
    labels = batch.labels.flatten()
    losses = functional.cross_entropy(logits.float(), labels[batch.learned], reduction="none")
    placed = losses.new_zeros(labels.shape).index_copy(0, batch.learned, losses.detach())
    return losses.sum(), placed.view(batch.labels.shape).sum(dim=1)


def contrast(images: Tensor, texts: Tensor, is_same: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Compute the pairwise sigmoid loss, summed over the pairs of N images (N, D) and M texts (M, D).

    `is_same` (N, M) is true where text j equals the text of image i: equal answers must not count as negative pairs.
    """
    with torch.autocast(images.device.type, enabled=False):
        similarity = functional.normalize(images.float(), dim=-1) @ functional.normalize(texts.float(), dim=-1).T
        sign = torch.where(is_same, 1.0, -1.0)
        return -functional.logsigmoid(sign * (scale * similarity + bias)).sum()


def fingerprint(ids: Tensor, mask: Tensor) -> Tensor:
    """Return a 64-bit polynomial hash (B,) of the ids (B, A) where `mask` is true, which has no gaps."""
    powers = torch.full_like(ids[0], 6364136223846793005).cumprod(dim=0)  # Knuth's multiplier; the products wrap
    return ((ids + 1) * mask * powers).sum(dim=1)


def is_distributed() -> bool:
    """Return whether several processes train together."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def gather(texts: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return the texts (N, D) and keys (N,) of all devices, in their order, with gradients of the texts.

    The number of texts differs by device, and each device must know the largest: one wait for the device.
    """
    count = torch.tensor([len(texts)], device=texts.device)
    counts = [torch.zeros_like(count) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, count)
    sizes = torch.cat(counts).tolist()
    missing = max(sizes) - len(texts)
    if not max(sizes):
        return texts, keys
    all_keys = [keys.new_zeros(max(sizes)) for _ in sizes]
    distributed.all_gather(all_keys, functional.pad(keys, (0, missing)))
    all_texts = all_gather(functional.pad(texts, (0, 0, 0, missing)))
    return (
        torch.cat([each[:size] for each, size in zip(all_texts, sizes, strict=True)]),
        torch.cat([each[:size] for each, size in zip(all_keys, sizes, strict=True)]),
    )
