"""The ResNet of torchvision and timm (He et al., 2016): its tensors under the names of transformers' ResNetModel.

Deeper stems (`resnet50d`), groups and other widths within a layer are other networks: their tensors are unknown, or of
another shape. `published` refuses those with the same tensors, such as `resnetblur50`.
"""

import re
from collections.abc import Mapping

from torch import Tensor
from transformers import ResNetConfig, ResNetModel

from openmedq.evaluation.towers.resnet import NUM_STAGES, fill
from openmedq.model import layouts

SIDE_PX = 224  # of its images, if no config states it
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_KINDS = {"conv": "convolution", "bn": "normalization", "0": "convolution", "1": "normalization"}


def build(tensors: Mapping[str, Tensor], where: str) -> ResNetModel:
    """Build the network with the tensors of an image encoder, whose names have no prefix.

    Raises:
        ModelError: a tensor is missing, unknown, or of another shape; the message begins with `where`.
    """
    stages = range(1, NUM_STAGES + 1)
    last = "conv3" if "layer1.0.conv3.weight" in tensors else "conv2"
    config = ResNetConfig(
        embedding_size=layouts.shape_of(tensors, "conv1.weight", 4, where)[0],
        hidden_sizes=[layouts.shape_of(tensors, f"layer{number}.0.{last}.weight", 4, where)[0] for number in stages],
        depths=[layouts.count_blocks(tensors, f"layer{number}.{{}}.") for number in stages],
        layer_type="bottleneck" if last == "conv3" else "basic",
    )
    network = ResNetModel(config)
    fill(network, {_translate(name): tensor for name, tensor in tensors.items()}, where)
    return network


def _translate(name: str) -> str:
    """Return the name of a tensor in transformers; of an unknown one the name itself."""
    if match := re.fullmatch(r"(conv|bn)1\.(\w+)", name):
        return f"embedder.embedder.{_KINDS[match[1]]}.{match[2]}"
    if match := re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(\w+)", name):
        layer = f"encoder.stages.{int(match[1]) - 1}.layers.{match[2]}.layer.{int(match[4]) - 1}"
        return f"{layer}.{_KINDS[match[3]]}.{match[5]}"
    if match := re.fullmatch(r"layer(\d)\.(\d+)\.downsample\.([01])\.(\w+)", name):
        return f"encoder.stages.{int(match[1]) - 1}.layers.{match[2]}.shortcut.{_KINDS[match[3]]}.{match[4]}"
    return name
