"""Small checkpoints in the layouts of published image encoders, and forward passes from the layouts' definitions."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Checkpoint = dict[str, Tensor]
WIDTH, HEADS, PATCH, GRID = 128, 2, 8, 3  # of the ViTs; a head is 64 wide
SIDE = PATCH * GRID
LAYER = ("self_attn.in_proj_", "self_attn.out_proj.", "norm1.", "norm2.", "linear1.", "linear2.")  # of torch


class Draw:
    """Random tensors, the same in each test."""

    def __init__(self, scale: float = 0.1) -> None:
        self.generator, self.scale = torch.Generator().manual_seed(0), scale

    def __call__(self, *shape: int) -> Tensor:
        return self.scale * torch.randn(shape, generator=self.generator)


def fill_block(
    tensors: Checkpoint, draw: Draw, block: str, norms: tuple[str, ...], layers: dict[str, int | tuple[int, int]]
) -> None:
    """Add normalizations and linear layers; of the layers, outputs or (outputs, inputs) are given in widths."""
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(norms, (WIDTH,))
    for name, size in layers.items():
        outputs, inputs = (size, 1) if isinstance(size, int) else size
        shapes[name] = outputs * WIDTH, inputs * WIDTH
    for name, shape in shapes.items():
        tensors[f"{block}.{name}.weight"] = draw(*shape)
        tensors[f"{block}.{name}.bias"] = draw(shape[0])


def norm(weights: Checkpoint, name: str, tokens: Tensor) -> Tensor:
    return functional.layer_norm(tokens, tokens.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


def see_blocks(
    weights: Checkpoint, tokens: Tensor, names: Sequence[str], num_heads: int, activation: Any, epsilon: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """The class token and the mean of the patches after two layers; `names`: of the blocks, then of LAYER."""
    block, *others = names
    for number in range(2):
        layer = nn.TransformerEncoderLayer(
            WIDTH, num_heads, 4 * WIDTH, 0.0, activation, epsilon, batch_first=True, norm_first=True
        )
        pairs = [
            (f"{theirs}{part}", f"{block}.{number}.{ours}{part}")
            for theirs, ours in zip(LAYER, others, strict=True)
            for part in ("weight", "bias")
        ]
        layer.load_state_dict({theirs: weights[ours] for theirs, ours in pairs})
        tokens = layer(tokens)
    return tokens[:, 0], tokens[:, 1:].mean(dim=1)


# timm's ViT, as in BiomedCLIP ----------------------------------------------------------------------------------------


def draw_timm() -> Checkpoint:
    draw = Draw()
    tensors = {
        "cls_token": draw(1, 1, WIDTH),
        "pos_embed": draw(1, GRID**2 + 1, WIDTH),
        "patch_embed.proj.weight": draw(WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": draw(WIDTH),
        "norm.weight": draw(WIDTH),
        "norm.bias": draw(WIDTH),
    }
    widths = {"attn.qkv": 3, "attn.proj": 1, "mlp.fc1": 4, "mlp.fc2": (1, 4)}
    for number in range(2):
        fill_block(tensors, draw, f"blocks.{number}", ("norm1", "norm2"), widths)
    return tensors


TIMM_NAMES = ("blocks", "attn.qkv.", "attn.proj.", "norm1.", "norm2.", "mlp.fc1.", "mlp.fc2.")


def see_timm(weights: Checkpoint, pixels: Tensor) -> tuple[Tensor, Tensor]:
    patches = functional.conv2d(
        pixels, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=PATCH
    )
    tokens = torch.cat([weights["cls_token"].expand(len(pixels), -1, -1), patches.flatten(2).mT], dim=1)
    return see_blocks(weights, tokens + weights["pos_embed"], TIMM_NAMES, HEADS, functional.gelu, 1e-6)


# OpenAI CLIP's ViT, as in PubMedCLIP ---------------------------------------------------------------------------------


def draw_clip() -> Checkpoint:
    draw = Draw()
    tensors = {
        "class_embedding": draw(WIDTH),
        "positional_embedding": draw(GRID**2 + 1, WIDTH),
        "conv1.weight": draw(WIDTH, 3, PATCH, PATCH),
        "proj": draw(WIDTH, 32),
    }
    for name in ("ln_pre", "ln_post"):
        tensors |= {f"{name}.weight": draw(WIDTH), f"{name}.bias": draw(WIDTH)}
    for number in range(2):
        block = f"transformer.resblocks.{number}"
        tensors[f"{block}.attn.in_proj_weight"] = draw(3 * WIDTH, WIDTH)
        tensors[f"{block}.attn.in_proj_bias"] = draw(3 * WIDTH)
        fill_block(tensors, draw, block, ("ln_1", "ln_2"), {"attn.out_proj": 1, "mlp.c_fc": 4, "mlp.c_proj": (1, 4)})
    return tensors


CLIP_NAMES = (
    *("transformer.resblocks", "attn.in_proj_", "attn.out_proj."),
    *("ln_1.", "ln_2.", "mlp.c_fc.", "mlp.c_proj."),
)


def see_clip(
    weights: Checkpoint, pixels: Tensor, num_heads: int = HEADS, is_quick: bool = True
) -> tuple[Tensor, Tensor]:
    patches = functional.conv2d(pixels, weights["conv1.weight"], stride=PATCH).flatten(2).mT
    tokens = torch.cat([weights["class_embedding"].expand(len(pixels), 1, -1), patches], dim=1)
    tokens = norm(weights, "ln_pre", tokens + weights["positional_embedding"])
    activation = (lambda hidden: hidden * torch.sigmoid(1.702 * hidden)) if is_quick else functional.gelu
    return see_blocks(weights, tokens, CLIP_NAMES, num_heads, activation)


# CLIP's modified ResNet, as in PMC-CLIP ------------------------------------------------------------------------------

LAYERS, STEM, RESNET_GRID = (3, 4, 6, 3), 4, 2
RESNET_SIDE = 32 * RESNET_GRID


def draw_resnet(stem: int = STEM, outputs: int = 24, grid: int = RESNET_GRID) -> Checkpoint:
    draw = Draw(0.3)
    tensors: Checkpoint = {}

    def layer(name: str, number: str, outputs: int, inputs: int, side: int) -> None:
        tensors[f"{name}conv{number}.weight"] = draw(outputs, inputs, side, side) * 4 / math.sqrt(inputs * side**2)
        fill(f"{name}bn{number}", outputs)

    def fill(name: str, width: int) -> None:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = 1 + draw(width), draw(width)
        tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"] = draw(width), 1 + draw(width).abs()
        tensors[f"{name}.num_batches_tracked"] = torch.tensor(7)

    layer("", "1", stem // 2, 3, 3)
    layer("", "2", stem // 2, stem // 2, 3)
    layer("", "3", stem, stem // 2, 3)
    inputs = stem
    for stage, num in enumerate(LAYERS):
        width = stem * 2**stage
        for place in range(num):
            block = f"layer{stage + 1}.{place}."
            layer(block, "1", width, inputs, 1)
            layer(block, "2", width, width, 3)
            layer(block, "3", 4 * width, width, 1)
            if place == 0:
                tensors[f"{block}downsample.0.weight"] = draw(4 * width, inputs, 1, 1)
                fill(f"{block}downsample.1", 4 * width)
            inputs = 4 * width
    tensors["attnpool.positional_embedding"] = draw(grid**2 + 1, inputs)
    for letter, size in (("q", inputs), ("k", inputs), ("v", inputs), ("c", outputs)):
        tensors[f"attnpool.{letter}_proj.weight"] = draw(size, inputs) / math.sqrt(inputs)
        tensors[f"attnpool.{letter}_proj.bias"] = draw(size)
    return tensors


def convolve(weights: Checkpoint, name: str, normalization: str, features: Tensor, stride: int = 1) -> Tensor:
    kernel = weights[f"{name}.weight"]
    features = functional.conv2d(features, kernel, stride=stride, padding=kernel.shape[-1] // 2)
    parts = [weights[f"{normalization}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return functional.batch_norm(features, *parts)


def map_resnet(weights: Checkpoint, pixels: Tensor) -> Tensor:
    """The last feature map, (N, 32 width, S / 32, S / 32)."""
    features = pixels
    for number in (1, 2, 3):
        features = convolve(weights, f"conv{number}", f"bn{number}", features, 2 if number == 1 else 1).relu()
    features = functional.avg_pool2d(features, 2)
    for stage, num in enumerate(LAYERS):
        for place in range(num):
            block, stride = f"layer{stage + 1}.{place}", 2 if stage and not place else 1
            hidden = convolve(weights, f"{block}.conv1", f"{block}.bn1", features).relu()
            hidden = convolve(weights, f"{block}.conv2", f"{block}.bn2", hidden).relu()
            hidden = convolve(weights, f"{block}.conv3", f"{block}.bn3", functional.avg_pool2d(hidden, stride))
            if place == 0:
                shrunk = functional.avg_pool2d(features, stride)
                features = convolve(weights, f"{block}.downsample.0", f"{block}.downsample.1", shrunk)
            features = (hidden + features).relu()
    return features


def pool_resnet(weights: Checkpoint, features: Tensor, num_heads: int) -> Tensor:
    """CLIP's attention pool: the mean of the positions attends to itself and to all positions."""
    tokens = features.flatten(2).permute(2, 0, 1)
    tokens = torch.cat([tokens.mean(0, keepdim=True), tokens]) + weights["attnpool.positional_embedding"][:, None]
    letters = [f"attnpool.{letter}_proj" for letter in "qkv"]
    pooled, _ = functional.multi_head_attention_forward(
        tokens[:1], tokens, tokens, tokens.shape[-1], num_heads, None,
        torch.cat([weights[f"{name}.bias"] for name in letters]), None, None, False, 0.0,
        weights["attnpool.c_proj.weight"], weights["attnpool.c_proj.bias"], training=False, need_weights=False,
        use_separate_proj_weight=True, q_proj_weight=weights[f"{letters[0]}.weight"],
        k_proj_weight=weights[f"{letters[1]}.weight"], v_proj_weight=weights[f"{letters[2]}.weight"],
    )  # fmt: skip
    return pooled[0]


def see_resnet(weights: Checkpoint, pixels: Tensor) -> tuple[Tensor, Tensor]:
    features = map_resnet(weights, pixels)
    return features.mean(dim=(2, 3)), features.amax(dim=(2, 3))


# The ResNet of torchvision and timm ----------------------------------------------------------------------------------


def draw_plain_resnet(num_convolutions: int) -> Checkpoint:
    """Two layers a stage, each of two or three convolutions."""
    draw = Draw(0.3)
    tensors: Checkpoint = {}

    def layer(name: str, normalization: str, outputs: int, inputs: int, side: int) -> None:
        tensors[f"{name}.weight"] = draw(outputs, inputs, side, side) * 4 / math.sqrt(inputs * side**2)
        for part, base in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            tensors[f"{normalization}.{part}"] = base + draw(outputs).abs()

    layer("conv1", "bn1", 8, 3, 7)
    inputs = 8
    for stage in range(4):
        width, outputs = 8 * 2**stage, 8 * 2**stage * (4 if num_convolutions == 3 else 1)
        for place in range(2):
            block = f"layer{stage + 1}.{place}"
            sizes = [(width, inputs, 3), (width, width, 3)]
            if num_convolutions == 3:
                sizes = [(width, inputs, 1), (width, width, 3), (outputs, width, 1)]
            for number, size in enumerate(sizes, 1):
                layer(f"{block}.conv{number}", f"{block}.bn{number}", *size)
            if inputs != outputs:
                layer(f"{block}.downsample.0", f"{block}.downsample.1", outputs, inputs, 1)
            inputs = outputs
    return tensors


def see_plain_resnet(weights: Checkpoint, pixels: Tensor) -> tuple[Tensor, Tensor]:
    features = convolve(weights, "conv1", "bn1", pixels, stride=2).relu()
    features = functional.max_pool2d(features, 3, stride=2, padding=1)
    for stage in range(4):
        for place in range(2):
            block, stride = f"layer{stage + 1}.{place}", 2 if stage and not place else 1
            numbers = [number for number in (1, 2, 3) if f"{block}.conv{number}.weight" in weights]
            hidden = features
            for number in numbers:  # the first 3 x 3 convolution has the stride
                own = stride if number == len(numbers) - 1 else 1
                hidden = convolve(weights, f"{block}.conv{number}", f"{block}.bn{number}", hidden, own)
                hidden = hidden.relu() if number < len(numbers) else hidden
            if f"{block}.downsample.0.weight" in weights:
                features = convolve(weights, f"{block}.downsample.0", f"{block}.downsample.1", features, stride)
            features = (hidden + features).relu()
    return features.mean(dim=(2, 3)), features.amax(dim=(2, 3))
