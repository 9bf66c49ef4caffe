"""Image encoders by name: each module builds a transformers vision model, from scratch or from published weights.

A module offers `build(settings: Vision) -> PreTrainedModel`. What it returns has a class token, and
`model(pixels, output_hidden_states=True).hidden_states[-1]` is (N, 1 + P, D): those are the tokens, before the last
normalization, that LLaVA projects. How pixels are made is said by the settings alone (size, mean and std).
Preprocessing, projection and heads do not belong here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from openmedq.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from openmedq.config import Vision


def build(settings: Vision) -> PreTrainedModel:
    """The encoder that the settings name, in fp32; ModelError where it can't be had or has another size."""
    if settings.image_size_px % settings.patch_size_px:
        raise ModelError(
            f"train.vision.image_size_px: {settings.image_size_px} is no multiple of patch_size_px, "
            f"{settings.patch_size_px}"
        )
    module = importlib.import_module(f"{__name__}.{settings.encoder}")
    encoder: PreTrainedModel = module.build(settings)
    return encoder


def count_patches(settings: Vision) -> int:
    """P, the tokens that stand for one picture."""
    return (settings.image_size_px // settings.patch_size_px) ** 2
