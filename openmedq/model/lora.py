"""Low-rank adapters on the language model only.

A ViT's attention layers are named `q_proj` and `v_proj` as well, so the targets are matched below `language_model`.
"""

from __future__ import annotations

import re
import warnings

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlavaForConditionalGeneration

from openmedq.config import Lora


def adapt(model: LlavaForConditionalGeneration, settings: Lora) -> PeftModel:
    """Freeze the whole model and add adapters, which start as the identity."""
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=r".*\blanguage_model\..*\.(" + "|".join(map(re.escape, settings.targets)) + ")",
    )
    with warnings.catch_warnings():  # peft 0.21 uses a name that transformers 5.23 deprecates
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        return get_peft_model(model, config)


def merge(model: PeftModel) -> LlavaForConditionalGeneration:
    """Add the adapters to the weights, in fp32 and in place; return the plain LLaVA."""
    for _, module in model.named_modules():
        if hasattr(module, "lora_A"):
            module.float()  # bf16 would round small updates away
    merged: LlavaForConditionalGeneration = model.merge_and_unload()
    return merged
