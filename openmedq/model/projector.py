"""One linear layer from the encoder's width to the language model's, in LLaVA's own shape.

LLaVA has two layers with an activation between. With the activation `linear` (the identity) and the second layer
frozen as the identity, the two are the one linear layer of the paper, exactly; and the checkpoint stays a stock LLaVA.
"""

from __future__ import annotations

import torch
from transformers import LlavaConfig
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

ACTIVATION = "linear"  # for LlavaConfig.projector_hidden_act


def build(config: LlavaConfig) -> LlavaMultiModalProjector:
    """(N, P, D of the encoder) -> (N, P, D of the language model); only `linear_1` is to be trained."""
    projector = LlavaMultiModalProjector(config)
    torch.nn.init.xavier_uniform_(projector.linear_1.weight)
    torch.nn.init.zeros_(projector.linear_1.bias)
    torch.nn.init.eye_(projector.linear_2.weight)
    torch.nn.init.zeros_(projector.linear_2.bias)
    projector.linear_2.requires_grad_(False)
    return projector
