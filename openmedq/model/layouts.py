"""The layouts of published ViTs, and their translation to the same networks of transformers.

- timm: `cls_token`, `blocks.0.attn.qkv.weight`, ...; transformers' ViTModel. BiomedCLIP has it under `visual.trunk.`.
- OpenAI's CLIP: `class_embedding`, `transformer.resblocks.0.attn.in_proj_weight`, ...; transformers' CLIPVisionModel.
  PubMedCLIP has it under `visual.`.

All sizes follow from the tensors, except for the number of heads: a head is 64 wide, with the exceptions of HEADS.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, ViTConfig, ViTModel

from openmedq.errors import ModelError

HEADS = {1280: 16, 1408: 16}  # ViT-H and ViT-g, by width
HEAD_WIDTH = 64


@dataclass(frozen=True)
class Layout:
    """The names of a checkpoint, and the names of the same tensors in transformers."""

    patches: str  # (D, 3, p, p)
    positions: str  # (..., 1 + P, D)
    block: str  # prefix of a layer
    hidden: str  # of a layer: (hidden width, D)
    outer: Mapping[str, str]
    layer: str  # prefix of a layer in transformers
    inner: Mapping[str, str]
    fused: Mapping[str, str]  # queries, keys and values in one tensor; {} is q, k or v

    def expand(self, num_layers: int) -> dict[str, list[str]]:
        """Return all names of a checkpoint, each with its one or three names in transformers."""
        names = {name: [target] for name, target in self.outer.items()}
        for number in range(num_layers):
            block, layer = self.block.format(number), self.layer.format(number)
            for name, target in self.inner.items():
                names |= {f"{block}{name}.{kind}": [f"{layer}{target}.{kind}"] for kind in ("weight", "bias")}
            for name, target in self.fused.items():
                names[block + name] = [layer + target.format(letter) for letter in "qkv"]
        return names


TIMM = Layout(
    patches="patch_embed.proj.weight",
    positions="pos_embed",
    block="blocks.{}.",
    hidden="mlp.fc1.weight",
    outer={
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    },
    layer="layers.{}.",
    inner={
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.o_proj",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    },
    fused={f"attn.qkv.{kind}": f"attention.{{}}_proj.{kind}" for kind in ("weight", "bias")},
)

CLIP = Layout(
    patches="conv1.weight",
    positions="positional_embedding",
    block="transformer.resblocks.{}.",
    hidden="mlp.c_fc.weight",
    outer={
        "class_embedding": "embeddings.class_embedding",
        "positional_embedding": "embeddings.position_embedding.weight",
        "conv1.weight": "embeddings.patch_embedding.weight",
        "ln_pre.weight": "pre_layrnorm.weight",
        "ln_pre.bias": "pre_layrnorm.bias",
        "ln_post.weight": "post_layernorm.weight",
        "ln_post.bias": "post_layernorm.bias",
    },
    layer="encoder.layers.{}.",
    inner={
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "attn.out_proj": "self_attn.out_proj",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    },
    fused={f"attn.in_proj_{kind}": f"self_attn.{{}}_proj.{kind}" for kind in ("weight", "bias")},
)


def build(
    layout: Layout, tensors: Mapping[str, Tensor], where: str, num_heads: int | None = None, *, is_quick: bool = True
) -> Any:
    """Build the network of transformers with the tensors of an image encoder, whose names have no prefix.

    Args:
        layout: of the names.
        tensors: of the checkpoint.
        where: begins the message of errors.
        num_heads: None: a head is 64 wide, with the exceptions of HEADS.
        is_quick: whether CLIP's layout has OpenAI's approximate GELU.

    Raises:
        ModelError: a tensor is missing, unknown, or of another shape; the message begins with `where`.
    """
    num_layers = count_blocks(tensors, layout.block)
    names = layout.expand(num_layers)
    compare(names, tensors, where)
    width, num_channels, _, patch_px = shape_of(tensors, layout.patches, 4, where)
    if num_channels != 3:
        raise ModelError(f"{where}: {layout.patches} has {num_channels} channels; expected 3, of RGB images")
    num_positions = torch.atleast_2d(tensors[layout.positions]).shape[-2]
    num_heads = num_heads or _count_heads(width, where)
    if width % num_heads:
        raise ModelError(f"{where}: its config has {num_heads} heads, which do not divide the width {width}")
    sizes = {
        "hidden_size": width,
        "num_hidden_layers": num_layers,
        "num_attention_heads": num_heads,
        "intermediate_size": shape_of(tensors, layout.block.format(0) + layout.hidden, 2, where)[0],
        "image_size": measure_grid(num_positions, layout.positions, where) * patch_px,
        "patch_size": patch_px,
    }
    network: Any
    if layout is TIMM:
        network = ViTModel(ViTConfig(**sizes, layer_norm_eps=1e-6), add_pooling_layer=False)
    else:
        network = CLIPVisionModel(CLIPVisionConfig(**sizes, hidden_act="quick_gelu" if is_quick else "gelu"))
    for name in (name for name, targets in names.items() if len(targets) > 1):
        if not tensors[name].dim() or len(tensors[name]) != 3 * width:
            raise ModelError(f"{where}: {name} has shape {tuple(tensors[name].shape)}; expected {3 * width} rows")
    state = {
        target: part.clone()
        for name, targets in names.items()
        for target, part in zip(targets, tensors[name].chunk(3) if len(targets) > 1 else [tensors[name]], strict=True)
    }
    fill(network, state, where)
    return network


def count_blocks(tensors: Mapping[str, Tensor], block: str) -> int:
    """Return the number of consecutive layers; `block` is their prefix, with {} for the number."""
    number = 0
    while any(name.startswith(block.format(number)) for name in tensors):
        number += 1
    return number


def compare(expected: Mapping[str, Any], found: Mapping[str, Any], where: str) -> None:
    """Raise ModelError if the names of an image encoder are not exactly the expected ones."""
    problems = []
    for kind, names in (("missing", expected.keys() - found.keys()), ("unknown", found.keys() - expected.keys())):
        if names:
            few = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            problems.append(f"{len(names)} {kind} ({few})")
    if problems:
        raise ModelError(f"{where}: tensors of the image encoder: {' and '.join(problems)}")


def fill(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors into a network that has the same names; ModelError if a shape differs."""
    for name, own in network.state_dict().items():
        if tensors[name].shape != own.shape:
            raise ModelError(f"{where}: {name} has shape {tuple(tensors[name].shape)}; expected {tuple(own.shape)}")
    network.load_state_dict(tensors)


def measure_grid(num_positions: int, name: str, where: str) -> int:
    """Return the side of the square grid of patches, in patches: there is one position more, of the class token."""
    side = math.isqrt(max(0, num_positions - 1))
    if side == 0 or side * side != num_positions - 1:
        raise ModelError(f"{where}: {name} has {num_positions} positions; expected one and a square grid")
    return side


def _count_heads(width: int, where: str) -> int:
    if width not in HEADS and width % HEAD_WIDTH:
        raise ModelError(f"{where}: width {width} is not a multiple of {HEAD_WIDTH}, the width of a head")
    return HEADS.get(width, width // HEAD_WIDTH)


def shape_of(tensors: Mapping[str, Tensor], name: str, num_axes: int, where: str) -> tuple[int, ...]:
    """Return the shape of a tensor; ModelError if it is missing or has another number of axes."""
    if name not in tensors or tensors[name].dim() != num_axes:
        raise ModelError(f"{where}: {name} is missing, or does not have {num_axes} axes")
    return tuple(tensors[name].shape)
