"""A ViT with random weights and the sizes of the settings."""

from transformers import ViTConfig, ViTModel

from openmedq.config import Vision
from openmedq.errors import ModelError


def configure(settings: Vision) -> ViTConfig:
    """Return the configuration of a ViT (Dosovitskiy et al., 2021): pre-norm, MLP of four times the width."""
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
    """Build the encoder with weights from torch's global generator."""
    if settings.weights is not None:
        raise ModelError(
            f"train.vision.weights: {settings.weights!r}, but the encoder `scratch` loads none; "
            "set null, or another encoder"
        )
    return ViTModel(configure(settings))
