"""One contract for image encoders: pixels in, two pooled vectors and the encoder's own preprocessing out."""

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import torch
from PIL.Image import Resampling
from torch import Tensor, nn

from openmedq.errors import ModelError

# Learned tokens that precede the patches, in a module `embeddings`; the class token is the first. Elsewhere, as in
# AIMv2's head, they precede nothing.
PREFIX_TOKENS = ("cls_token", "class_embedding", "distillation_token", "register_tokens")


_log = logging.getLogger(__name__)


class Preprocessing(NamedTuple):
    """How an encoder expects its images: S x S pixels, less `mean` and divided by `std`, of values in [0, 1]."""

    side_px: int  # S
    mean: tuple[float, ...]  # (3,)
    std: tuple[float, ...]  # (3,)
    resample: int  # a PIL.Image.Resampling: BILINEAR or BICUBIC


def make_preprocessing(side_px: int, mean: Any, std: Any, resample: int | None, where: str) -> Preprocessing:
    """Check values of a config; one number is that of each channel, and other filters become bicubic.

    Raises:
        ModelError: there is no size, or mean and std are not three numbers, the latter positive.
    """
    if side_px <= 0:
        raise ModelError(f"{where}: its preprocessing has no size of images; add it to preprocessor_config.json")
    mean, std = (tuple(each) if isinstance(each, (list, tuple)) else (each,) * 3 for each in (mean, std))
    are_numbers = all(isinstance(value, (int, float)) and math.isfinite(value) for value in (*mean, *std))
    if not are_numbers or len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ModelError(
            f"{where}: its preprocessing has mean {mean} and std {std}; expected three numbers each, of std above 0"
        )
    if resample not in (Resampling.BILINEAR, Resampling.BICUBIC, None):
        _log.warning(f"{where}: its filter {resample!r} for the size of images is not supported; using bicubic")
    filter_ = Resampling.BILINEAR if resample == Resampling.BILINEAR else Resampling.BICUBIC
    return Preprocessing(side_px, mean, std, filter_)


def read_preprocessing(image_processor: Any) -> Preprocessing:
    """The preprocessing of a saved model's processor."""
    mean, std = tuple(image_processor.image_mean), tuple(image_processor.image_std)
    return Preprocessing(image_processor.size["height"], mean, std, image_processor.resample)


class Tower(nn.Module):
    """An image encoder: pixels (N, 3, S, S) to two pooled vectors (N, D).

    With a class token, they are the class token and the mean of the patches after the last layer, before the last
    normalization, as in LLaVA. Without one, they are the mean and the maximum of the last feature map.
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, where: str) -> None:
        """Try the network on two images.

        Args:
            network: takes `pixel_values` and returns `hidden_states` or `last_hidden_state`, as in transformers.
            preprocessing: of the images.
            where: begins the message of errors.

        Raises:
            ModelError: the network does not take images of this size, or returns neither tokens nor a feature map; the
                features are not finite numbers.
        """
        super().__init__()
        self.network, self.preprocessing = network, preprocessing
        self.num_prefix = _count_prefix(network)
        side = preprocessing.side_px
        try:
            device = next(network.parameters()).device
            with torch.inference_mode():
                first, _ = self.eval()(torch.zeros(2, 3, side, side, device=device))
            if len(first) != 2:  # Pixtral's patches of all images are one sequence
                raise ValueError(f"it returns the features of {len(first)} in place of 2 images")
        except (ValueError, RuntimeError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{where}: can't encode RGB images of {side} x {side} px: {reason}") from error
        if not first.isfinite().all():
            raise ModelError(f"{where}: the features of an image are not finite numbers; get the weights again")
        self.width = int(first.shape[1])  # D

    def resize(self, side_px: int, where: str) -> Tower:
        """Return the encoder for images of S x S pixels; ModelError if it can't interpolate its positions."""
        return Tower(self.network, self.preprocessing._replace(side_px=side_px), where)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the two vectors, (N, D) each."""
        output: Any = self.network(pixel_values=pixels, output_hidden_states=self.num_prefix > 0)
        if self.num_prefix:
            tokens = output.hidden_states[-1]  # (N, prefix + P, D)
            return tokens[:, 0], tokens[:, self.num_prefix :].mean(dim=1)
        features = output.last_hidden_state  # (N, D, H, W), or (N, P, D)
        features = features.flatten(2) if features.dim() == 4 else features.transpose(1, 2)
        return features.mean(dim=2), features.amax(dim=2)


def _count_prefix(network: nn.Module) -> int:
    """Return the number of learned tokens before the patches; 0 without a class token."""
    sizes = {".".join(name.split(".")[-2:]): tensor for name, tensor in network.named_parameters()}
    found = [sizes[f"embeddings.{name}"] for name in PREFIX_TOKENS if f"embeddings.{name}" in sizes]
    return sum(tensor.shape[-2] if tensor.dim() > 1 else 1 for tensor in found)
