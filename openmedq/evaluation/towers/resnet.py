"""CLIP's modified ResNet (Radford et al., 2021), as in PMC-CLIP (Lin et al., 2023): ResNet-50 of width 64.

Three convolutions of 3 x 3 and an average pooling in place of the first layer, average pooling before each convolution
that would have a stride, and attention in place of the last pooling. Names are those of the published checkpoints.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput

from openmedq.model import layouts

EXPANSION = 4  # a layer's output is as many times wider than its 3 x 3 convolution
HEAD_WIDTH = 64
REDUCTION = 32  # sides of the image, in sides of the last feature map
NUM_STAGES = 4
# The sizes follow from these tensors of so many axes.
SIZED = {"conv3.weight": 4, "attnpool.positional_embedding": 2, "attnpool.c_proj.weight": 2}
COUNTER = "num_batches_tracked"  # of a batch normalization; older checkpoints have none


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.stride = stride
        self.downsample = None
        if stride > 1 or inputs != outputs:
            layers = {"0": nn.Conv2d(inputs, outputs, 1, bias=False), "1": nn.BatchNorm2d(outputs)}
            self.downsample = nn.Sequential(OrderedDict(layers))

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, 4 width, H / stride, W / stride)."""
        hidden = self.bn1(self.conv1(features)).relu()
        hidden = self._shrink(self.bn2(self.conv2(hidden)).relu())
        hidden = self.bn3(self.conv3(hidden))
        shortcut = features if self.downsample is None else self.downsample(self._shrink(features))
        total: Tensor = hidden + shortcut
        return total.relu()

    def _shrink(self, features: Tensor) -> Tensor:
        return functional.avg_pool2d(features, self.stride) if self.stride > 1 else features


class AttentionPool(nn.Module):
    """Attention of the mean to all positions of the last feature map."""

    def __init__(self, grid: int, width: int, outputs: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(grid**2 + 1, width))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(N, D, H, W) to (N, outputs)."""
        tokens = features.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1) + self.positional_embedding
        projected = (self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens))
        query, key, value = (each.unflatten(2, (-1, HEAD_WIDTH)).transpose(1, 2) for each in projected)
        mixed = functional.scaled_dot_product_attention(query, key, value)  # (N, heads, 1, 64)
        pooled: Tensor = self.c_proj(mixed.transpose(1, 2).flatten(1))
        return pooled


class ModifiedResNet(nn.Module):
    """Pixels (N, 3, S, S) to the last feature map; `attnpool` projects it into the space of image and text."""

    def __init__(self, num_layers: Sequence[int], width: int, grid: int, outputs: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for number, num in enumerate(num_layers):
            inner = width * 2**number
            blocks = []
            for place in range(num):
                blocks.append(Bottleneck(inputs, inner, 2 if number and not place else 1))
                inputs = inner * EXPANSION
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
        self.attnpool = AttentionPool(grid, inputs, outputs)

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = False) -> BaseModelOutput:
        """Compute the last feature map (N, 32 width, S / 32, S / 32)."""
        features = pixel_values
        for number in (1, 2, 3):
            convolve, normalize = getattr(self, f"conv{number}"), getattr(self, f"bn{number}")
            features = normalize(convolve(features)).relu()
        features = functional.avg_pool2d(features, 2)
        for number in range(1, NUM_STAGES + 1):
            features = getattr(self, f"layer{number}")(features)
        return BaseModelOutput(last_hidden_state=features)


def build(tensors: Mapping[str, Tensor], where: str) -> tuple[ModifiedResNet, int]:
    """Build the network with the tensors of an image encoder, whose names have no prefix; return it and S, in px.

    Raises:
        ModelError: a tensor is missing, unknown, or of another shape; the message begins with `where`.
    """
    num_layers = [layouts.count_blocks(tensors, f"layer{number}.{{}}.") for number in range(1, NUM_STAGES + 1)]
    width, num_positions, outputs = (layouts.shape_of(tensors, *each, where)[0] for each in SIZED.items())
    grid = layouts.measure_grid(num_positions, [*SIZED][1], where)
    network = ModifiedResNet(num_layers, width, grid, outputs)
    fill(network, tensors, where)
    return network, grid * REDUCTION


def fill(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Set the tensors of a network; ModelError if one is missing, unknown or of another shape."""
    own = network.state_dict()
    counters = {name: tensor for name, tensor in own.items() if name.endswith(COUNTER)}
    whole = counters | dict(tensors)
    layouts.compare(own, whole, where)
    layouts.fill(network, whole, where)
