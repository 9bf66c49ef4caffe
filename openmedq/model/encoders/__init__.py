"""Image encoders: one module each, selected by `train.vision.encoder`.

A module defines `build(settings: Vision) -> PreTrainedModel`. The model has a class token, and
`model(pixels, output_hidden_states=True).hidden_states[-1]` is (N, 1 + P, D): the tokens before the last normalization,
which LLaVA projects. Preprocessing follows from the settings (size, mean and std) and is the same for all encoders.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from openmedq.errors import ModelError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from openmedq.config import Vision


SIZES = {
    "image_size_px": "image_size",
    "patch_size_px": "patch_size",
    "width": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
}
UNUSED = {"layernorm", "norm", "post_layernorm", "pooler", "mask_token"}  # modules and tensors that LLaVA does not use


def is_unused(name: str) -> bool:
    """Whether the tokens before the last normalization do not depend on a tensor of an encoder."""
    return not UNUSED.isdisjoint(name.split("."))


def build(settings: Vision) -> PreTrainedModel:
    """Build the encoder in fp32; ModelError if it can't be loaded or has other sizes than the settings."""
    module = importlib.import_module(f"{__name__}.{settings.encoder}")
    encoder: PreTrainedModel = module.build(settings)
    return encoder


def check_sizes(settings: Vision, config: PretrainedConfig, names: Iterable[str]) -> None:
    """Raise ModelError if a size of published weights is not the setting `name`."""
    for name in names:
        actual, expected = getattr(config, SIZES[name], None), getattr(settings, name)
        if actual is None:
            raise ModelError(
                f"train.vision.weights: {settings.weights}: no {SIZES[name]} in its config; choose an image encoder"
            )
        if actual != expected:
            raise ModelError(f"train.vision.{name}: {expected}, but {settings.weights} has {actual}; set {actual}")


def count_patches(settings: Vision) -> int:
    """Return P, the number of tokens per image."""
    return (settings.image_size_px // settings.patch_size_px) ** 2
