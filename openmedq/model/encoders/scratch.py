"""A plain ViT with random weights, of whatever size the settings say."""

from __future__ import annotations

from transformers import ViTConfig, ViTModel

from openmedq.config import Vision
from openmedq.errors import ModelError


def configure(settings: Vision) -> ViTConfig:
    """A ViT as timm and the paper (Dosovitskiy et al., 2021) build it: pre-norm, MLP four times as wide."""
    if settings.width % settings.num_heads:
        raise ModelError(f"train.vision.width: {settings.width} is no multiple of num_heads, {settings.num_heads}")
    return ViTConfig(
        hidden_size=settings.width,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        intermediate_size=4 * settings.width,
        image_size=settings.image_size_px,
        patch_size=settings.patch_size_px,
        layer_norm_eps=1e-6,
    )


def build(settings: Vision) -> ViTModel:
    """Random weights, drawn from torch's generator."""
    if settings.weights is not None:
        raise ModelError(
            f"train.vision.weights: {settings.weights!r}, but the encoder `scratch` has none; "
            "say null, or name another encoder"
        )
    return ViTModel(configure(settings))
