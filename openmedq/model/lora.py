"""Low-rank adapters on the language model only.

A ViT's attention layers are named `q_proj` and `v_proj` as well, so the targets are matched below `language_model`.
"""

import re
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from openmedq import paths
from openmedq.config import Language, Lora

NAME = "default"  # peft's name of the adapter


def adapt(model: LlavaForConditionalGeneration, settings: Lora, base: Language | None = None) -> PeftModel:
    """Freeze the whole model and add adapters, which start as the identity; `base` names their language model."""
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=r".*\blanguage_model\..*\.(" + "|".join(map(re.escape, settings.targets)) + ")",
    )
    with warnings.catch_warnings():  # peft 0.21 uses a name that transformers 5.23 deprecates
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        adapted = get_peft_model(model, config)
    config.base_model_name_or_path = paths.hide_folders(base.weights) if base and base.weights else None
    config.revision = base.revision if base else None
    return adapted


def find_adapters(model: PeftModel) -> dict[str, LoraLayer]:
    """Return the adapted layers, by the name of their weight in the plain LLaVA."""
    modules = model.base_model.model.named_modules()
    return {f"{name}.weight": module for name, module in modules if isinstance(module, LoraLayer)}


def find_tensors(model: PeftModel | LlavaForConditionalGeneration) -> dict[str, Tensor]:
    """Return the tensors of the plain LLaVA by name, without the adapters' factors; a tied tensor is listed once."""
    llava = model.base_model.model if isinstance(model, PeftModel) else model
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in llava.state_dict(keep_vars=True).items():
        if ".lora_" not in name:
            found.setdefault(id(tensor), (name.replace(".base_layer.", "."), tensor))
    return dict(found.values())


@torch.no_grad()
def merge(layer: LoraLayer) -> Tensor:
    """Return W + s B A, in fp32 on the CPU: bf16 would round small updates away, and a GPU may use TF32."""
    weight, a, b = (
        part.weight.detach().cpu().float() for part in (layer.get_base_layer(), layer.lora_A[NAME], layer.lora_B[NAME])
    )
    merged: Tensor = weight + layer.scaling[NAME] * (b @ a)
    return merged
