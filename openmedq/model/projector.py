"""A linear projector from the encoder's width to the language model's, as LLaVA's two-layer module.

With the identity as activation and the second layer frozen as the identity, LLaVA's two layers are one linear layer,
as in the paper, and the checkpoint stays a standard LLaVA.
"""

from __future__ import annotations

import torch
from transformers import LlavaConfig
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

ACTIVATION = "linear"  # for LlavaConfig.projector_hidden_act


def build(config: LlavaConfig) -> LlavaMultiModalProjector:
    """Map (N, P, D of the encoder) to (N, P, D of the language model); only `linear_1` is trained."""
    projector = LlavaMultiModalProjector(config)
    torch.nn.init.xavier_uniform_(projector.linear_1.weight)
    torch.nn.init.zeros_(projector.linear_1.bias)
    torch.nn.init.eye_(projector.linear_2.weight)
    torch.nn.init.zeros_(projector.linear_2.bias)
    projector.linear_2.requires_grad_(False)
    return projector
