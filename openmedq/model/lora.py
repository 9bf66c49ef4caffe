"""Low-rank adapters on the language model, and on nothing else.

ViT's attention names its layers `q_proj` and `v_proj` as LLaMA's does, so that bare names would adapt the encoder too:
targets are matched below `language_model` only.
"""

from __future__ import annotations

import re
import warnings

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlavaForConditionalGeneration

from openmedq.config import Lora


def adapt(model: LlavaForConditionalGeneration, settings: Lora) -> PeftModel:
    """Freeze the whole model and add adapters, which begin as the identity."""
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=r".*\blanguage_model\..*\.(" + "|".join(map(re.escape, settings.targets)) + ")",
    )
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5.23 by a name that will go
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        return get_peft_model(model, config)


def merge(model: PeftModel) -> LlavaForConditionalGeneration:
    """The model with the adapters added into the weights, in fp32, in place: a stock LLaVA again."""
    for _, module in model.named_modules():
        if hasattr(module, "lora_A"):
            module.float()  # adding a small update to bf16 weights would round most of it away
    merged: LlavaForConditionalGeneration = model.merge_and_unload()
    return merged
