"""A linear projector from the encoder's width to the language model's, as LLaVA's two-layer module.

With the identity as activation and the second layer frozen as the identity, LLaVA's two layers are one linear layer,
as in the paper, and the checkpoint stays a standard LLaVA.
"""

import torch
from torch import Tensor
from transformers import LlavaConfig, PreTrainedModel
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from openmedq.config import Vision

ACTIVATION = "linear"  # for LlavaConfig.projector_hidden_act
NUM_IMAGES = 8  # of noise


def build(config: LlavaConfig) -> LlavaMultiModalProjector:
    """Map (N, P, D of the encoder) to (N, P, D of the language model); only `linear_1` is trained."""
    projector = LlavaMultiModalProjector(config)
    torch.nn.init.xavier_uniform_(projector.linear_1.weight)
    torch.nn.init.zeros_(projector.linear_1.bias)
    torch.nn.init.eye_(projector.linear_2.weight)
    torch.nn.init.zeros_(projector.linear_2.bias)
    projector.linear_2.requires_grad_(False)
    return projector


@torch.no_grad()
def fit_norm(projector: LlavaMultiModalProjector, vision: PreTrainedModel, words: Tensor, settings: Vision) -> None:
    """Scale `linear_1` so that the projected tokens are on average as long as the word embeddings (V, D).

    Otherwise the tokens of a pretrained ViT, taken before its last normalization, can be many times as long. Their
    length is measured on images of uniform noise, always the same: it is within 15 % of that on radiology images (for
    DINOv2-S and for random weights; gray ramps and smooth images were no closer), and needs no training data.
    """
    side, was_training = settings.image_size_px, vision.training
    noise = torch.rand(NUM_IMAGES, 3, side, side, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (settings.mean, settings.std))
    tokens = vision.eval()(pixel_values=(noise - mean) / std, output_hidden_states=True).hidden_states[-1]
    vision.train(was_training)
    length = projector(tokens[:, 1:]).norm(dim=-1).mean()
    projector.linear_1.weight *= torch.linalg.vector_norm(words, dim=-1, dtype=torch.float32).mean().cpu() / length
