"""Any vision model of transformers with a class token: ViT, DINOv2 without registers, CLIP's vision tower.

`weights` is a folder or a Hugging Face id. The sizes of the settings must be those of the weights. Only tensors are
unpickled, and no code of a repository runs.
"""

from typing import cast

import torch
from transformers import AutoConfig, AutoModel, CLIPVisionModel, PreTrainedModel

from openmedq.config import Vision
from openmedq.errors import ModelError, shorten
from openmedq.model.encoders import check_sizes, is_unused


def build(settings: Vision) -> PreTrainedModel:
    """Load the model in fp32; ModelError if it can't be loaded or does not return 1 + P tokens."""
    if settings.weights is None:
        raise ModelError("train.vision.weights: null, but the encoder `pretrained` needs a folder or a Hugging Face id")
    try:
        config = AutoConfig.from_pretrained(settings.weights, revision=settings.revision)
        kind = CLIPVisionModel if config.model_type == "clip" else AutoModel
        model, names = kind.from_pretrained(
            settings.weights, revision=settings.revision, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # missing folder, no network, damaged files: many exception types
        raise ModelError(f"train.vision.weights: {settings.weights}: can't be loaded: {shorten(error)}") from error
    if missing := sorted(name for name in names["missing_keys"] if not is_unused(name)):
        raise ModelError(
            f"train.vision.weights: {settings.weights}: {len(missing)} tensors are missing, such as {missing[0]}; "
            "get the weights again, or choose others"
        )
    _check(model, settings)
    return cast(PreTrainedModel, model)


def _check(model: PreTrainedModel, settings: Vision) -> None:
    check_sizes(settings, model.config, ("patch_size_px", "width", "num_layers", "num_heads"))
    size = settings.image_size_px
    shape = (1, 1 + (size // settings.patch_size_px) ** 2, settings.width)
    try:
        with torch.no_grad():
            tokens = model(pixel_values=torch.zeros(1, 3, size, size), output_hidden_states=True).hidden_states[-1]
    except ValueError as error:
        raise ModelError(f"train.vision.image_size_px: {size}: {shorten(error)}") from error
    if tuple(tokens.shape) != shape:
        raise ModelError(
            f"train.vision.weights: {settings.weights} returns tokens {tuple(tokens.shape)}, not {shape}: "
            "choose an encoder with one class token and no registers"
        )
