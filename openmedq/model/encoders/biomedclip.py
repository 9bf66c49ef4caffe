"""BiomedCLIP's ViT-B/16 (Zhang et al., 2023), from its open_clip checkpoint.

The image encoder in `microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224` is timm's `vit_base_patch16_224`, with
the prefix `visual.trunk.`. transformers' `ViTModel` is the same network with other names: `layouts` translates them,
without timm or open_clip. `visual.head.*` (the projection into CLIP's space), `text.*` and `logit_scale` are not used.

The checkpoint expects images normalized with the mean and std of OpenAI's CLIP: set them in `train.vision`.
"""

from torch import Tensor
from transformers import ViTModel

from openmedq.config import Vision
from openmedq.errors import ModelError
from openmedq.model import encoders, layouts, weights

CHECKPOINTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
TRUNK = "visual.trunk."
UNUSED = ("visual.head.", "text.", "logit_scale")


def build(settings: Vision) -> ViTModel:
    """Load the encoder in fp32; ModelError if the checkpoint is not available, lacks a tensor or has an unknown one."""
    if settings.weights is None:
        raise ModelError("train.vision.weights: null, but the encoder `biomedclip` needs a folder or a Hugging Face id")
    path = weights.find(settings.weights, settings.revision, CHECKPOINTS, "train.vision.weights")
    where = f"train.vision.weights: {settings.weights}"
    model: ViTModel = layouts.build(layouts.TIMM, select(weights.read(path), where), where, settings.num_heads)
    encoders.check_sizes(settings, model.config, ("image_size_px", "patch_size_px", "width", "num_layers"))
    return model


def select(checkpoint: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return the tensors below `visual.trunk.` without this prefix; ModelError for an unknown tensor."""
    for name in checkpoint:
        if not name.startswith((TRUNK, *UNUSED)):
            raise ModelError(f"{where}: unknown tensor {name}; is it a BiomedCLIP checkpoint?")
    trunk = {name.removeprefix(TRUNK): tensor for name, tensor in checkpoint.items() if name.startswith(TRUNK)}
    if not trunk:
        raise ModelError(f"{where}: has no {TRUNK}*; is it a BiomedCLIP checkpoint?")
    return trunk
