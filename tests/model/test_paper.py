"""The paper's model on the meta device: settings, shapes and parameter counts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from openmedq import paths
from openmedq.config import Train, profile
from openmedq.model import lora
from openmedq.model import model as models
from openmedq.model.encoders import scratch

ROOT = Path(__file__).parents[2]
VOCABULARY = 32_002  # LLaMA's 32,000, <pad> and <image>


@pytest.fixture(scope="module")
def settings() -> Train:
    return profile(ROOT / paths.CONF, "paper").train


def test_shapes_and_counts(settings: Train, tokenizer: Any) -> None:
    config = LlamaConfig(vocab_size=VOCABULARY)  # the defaults are LLaMA-7B's
    with torch.device("meta"):
        vision = scratch.build(settings.vision.model_copy(update={"weights": None}))
        llava = models.assemble(vision, LlamaForCausalLM(config), tokenizer, settings.vision)
        model = lora.adapt(llava, settings.lora)
        for part in models.find_trained(llava, settings):
            part.requires_grad_(True)
        models.freeze_unused(vision)
        tokens = vision(torch.empty(2, 3, 224, 224), output_hidden_states=True).hidden_states[-1]
        placed = llava.model.multi_modal_projector(tokens[:, 1:])
    assert tuple(tokens.shape) == (2, 197, 768)
    assert tuple(placed.shape) == (2, 196, 4096)

    counts = {True: 0, False: 0}
    for parameter in model.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    adapters = 32 * 2 * 8 * (4096 + 4096)  # layers x (q, v) x rank x (in + out)
    projector = 768 * 4096 + 4096
    vit = sum(parameter.numel() for name, parameter in vision.named_parameters() if parameter.requires_grad)
    assert adapters == 4_194_304
    assert vit == 85_797_120  # ViT-B/16 without its last normalization and pooler
    assert counts[True] == adapters + projector + vit == 93_141_248
    assert counts[False] == pytest.approx(6.76e9, rel=0.01)
