"""BiomedCLIP's ViT-B/16 (Zhang et al., 2023), from its open_clip checkpoint.

The image encoder in `microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224` is timm's `vit_base_patch16_224`, with
the prefix `visual.trunk.`. transformers' `ViTModel` is the same network with other names: the names are translated and
timm's fused qkv is split in three, without timm or open_clip. `visual.head.*` (the projection into CLIP's space),
`text.*` and `logit_scale` are not used.

The checkpoint expects images normalized with the mean and std of OpenAI's CLIP: set them in `train.vision`.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import ViTModel

from openmedq.config import Vision
from openmedq.errors import ModelError
from openmedq.model.encoders import scratch

CHECKPOINTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
TRUNK = "visual.trunk."
UNUSED = ("visual.head.", "text.", "logit_scale")

_OUTER = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
_INNER = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias)")


def build(settings: Vision) -> ViTModel:
    """Load the encoder in fp32; ModelError if the checkpoint is not available, lacks a tensor or has an unknown one."""
    if settings.weights is None:
        raise ModelError("train.vision.weights: null, but the encoder `biomedclip` needs a folder or a Hugging Face id")
    model = ViTModel(scratch.configure(settings))
    translated = translate(_load(settings), settings.weights)
    needed = {name for name in model.state_dict() if not name.startswith("pooler.")}
    if needed != translated.keys():
        differing = sorted(needed ^ translated.keys())
        raise ModelError(
            f"train.vision.weights: {settings.weights} does not fit train.vision: {len(differing)} tensors "
            f"are missing or extra, such as {differing[0]}; BiomedCLIP has 12 layers, 12 heads, width 768, patches of "
            "16 px and images of 224 px"
        )
    try:
        model.load_state_dict(translated, strict=False)  # ViTModel's pooler is not in the checkpoint and not used
    except RuntimeError as error:
        raise ModelError(
            f"train.vision.weights: {settings.weights} does not fit: {' '.join(str(error).split())[:300]}"
        ) from error
    return model


def translate(checkpoint: dict[str, Tensor], where: str = "checkpoint") -> dict[str, Tensor]:
    """Rename the tensors below `visual.trunk.` to those of `ViTModel`; ModelError for an unknown tensor."""
    translated: dict[str, Tensor] = {}
    for name, tensor in checkpoint.items():
        if name.startswith(TRUNK):
            translated |= _translate(name.removeprefix(TRUNK), tensor.float(), where)
        elif not name.startswith(UNUSED):
            raise ModelError(f"train.vision.weights: {where}: unknown tensor {name}; is it a BiomedCLIP checkpoint?")
    if not translated:
        raise ModelError(f"train.vision.weights: {where}: has no {TRUNK}*; is it a BiomedCLIP checkpoint?")
    return translated


def _translate(name: str, tensor: Tensor, where: str) -> dict[str, Tensor]:
    if name in _OUTER:
        return {_OUTER[name]: tensor}
    block = _BLOCK.fullmatch(name)
    if block:
        number, part, kind = block.groups()
        if part in _INNER:
            return {f"layers.{number}.{_INNER[part]}.{kind}": tensor}
        if part == "attn.qkv":  # (3 D, D) or (3 D): queries, then keys, then values
            names = [f"layers.{number}.attention.{letter}_proj.{kind}" for letter in "qkv"]
            return {name: part.clone() for name, part in zip(names, tensor.chunk(3), strict=True)}
    raise ModelError(f"train.vision.weights: {where}: unknown tensor {TRUNK}{name}; is it timm's plain ViT?")


def _load(settings: Vision) -> dict[str, Tensor]:
    path = _find(str(settings.weights), settings.revision)
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        return dict(torch.load(path, map_location="cpu", weights_only=True))  # does not run pickled code
    except Exception as error:  # torch, zip, pickle and safetensors have their own types
        raise ModelError(
            f"{path}: not a checkpoint, or truncated, get it again: {' '.join(str(error).split())[:200]}"
        ) from error


def _find(weights: str, revision: str | None) -> Path:
    folder = Path(weights)
    if folder.is_dir():
        for name in CHECKPOINTS:
            if (folder / name).is_file():
                return folder / name
        raise ModelError(f"train.vision.weights: {folder}: no checkpoint; expected {' or '.join(CHECKPOINTS)}")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(weights, CHECKPOINTS[-1], revision=revision))
    except Exception as error:  # no network, no such repository, no disk
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"train.vision.weights: {weights}: not a folder, and the download failed: {reason}") from error
