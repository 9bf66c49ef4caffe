"""Any vision model that transformers reads and that has a class token: ViT, DINOv2 (without registers), CLIP's tower.

`weights` is a folder or a hub id. Sizes are the weights' own; where the settings say others, that is an error and not
a silent change. Nothing but safetensors and tensors is unpickled, and no code of a hub repository is run.
"""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModel, CLIPVisionModel, PreTrainedModel

from openmedq.config import Vision
from openmedq.errors import ModelError


def build(settings: Vision) -> PreTrainedModel:
    """The model in fp32; ModelError where it can't be loaded or its tokens are not one class token and P patches."""
    if settings.weights is None:
        raise ModelError("train.vision.weights: null, but the encoder `pretrained` needs a folder or a hub id")
    try:
        config = AutoConfig.from_pretrained(settings.weights, revision=settings.revision)
        kind = CLIPVisionModel if config.model_type == "clip" else AutoModel
        model: PreTrainedModel = kind.from_pretrained(settings.weights, revision=settings.revision, dtype=torch.float32)
    except Exception as error:  # an absent folder, no network, damaged files: each raises something else
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"train.vision.weights: {settings.weights}: can't be loaded: {reason}") from error
    _check(model, settings)
    return model


def _check(model: PreTrainedModel, settings: Vision) -> None:
    for name, key in (
        ("patch_size_px", "patch_size"),
        ("width", "hidden_size"),
        ("num_layers", "num_hidden_layers"),
        ("num_heads", "num_attention_heads"),
    ):
        own, said = getattr(model.config, key, None), getattr(settings, name)
        if own != said:
            raise ModelError(f"train.vision.{name}: {said}, but {settings.weights} has {own}")
    size = settings.image_size_px
    expected = (1, 1 + (size // settings.patch_size_px) ** 2, settings.width)
    try:
        with torch.inference_mode():
            tokens = model(pixel_values=torch.zeros(1, 3, size, size), output_hidden_states=True).hidden_states[-1]
    except ValueError as error:
        raise ModelError(f"train.vision.image_size_px: {size}: {' '.join(str(error).split())}") from error
    if tuple(tokens.shape) != expected:
        raise ModelError(
            f"train.vision.weights: {settings.weights} gives tokens {tuple(tokens.shape)}, not {expected}: "
            "the encoder must have one class token, no registers"
        )
