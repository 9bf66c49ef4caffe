"""Parameters, FLOPs and memory of a training, from the settings alone: no weights are loaded.

FLOPs follow the convention for frozen weights under LoRA. N weights of matrix products cost, for each token:

    6 N    trained: forward 2, gradient of the input 2, gradient of the weight 2
    4 N    frozen, with trained parts before them: forward 2, gradient of the input 2
    2 N    frozen, without trained parts before them: forward only

The head is counted at each token, and attention is counted in full, not halved for causality.

Memory is what autograd keeps for the backward pass of the unfused model, so that torch.compile and Liger's kernels need
less. A test compares both with counts of torch.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import torch
from peft import PeftModel
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, ViTModel

from openmedq.config import Language, Train
from openmedq.errors import ModelError
from openmedq.model import encoders, language, lora
from openmedq.model import model as models
from openmedq.model.encoders import scratch

ENCODER, PROJECTOR, LANGUAGE, EMBEDDINGS, ADAPTERS = "encoder", "projector", "language", "embeddings, head", "adapters"
GRADIENT_BYTES, OPTIMIZER_BYTES = 4, 8  # of a trained parameter; AdamW has two moments
NORM_BYTES = 4  # normalizations run in fp32 and keep their input
LOGIT_BYTES = {"fp32": 16, "bf16": 18}  # logits, their logarithms and two gradients in fp32; bf16 logits and fp32 copy


@dataclass(frozen=True)
class Part:
    """A part of the model."""

    name: str
    num_parameters: int
    num_trained: int
    flops: int  # per token of the part: class token and patches, patches, or tokens of the text with image slots


@dataclass(frozen=True)
class Memory:
    """Bytes on the device at the peak of an update."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def fixed(self) -> int:
        """Bytes that do not depend on the micro batch."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """Sum of the parts."""
        return self.fixed + self.activations + self.logits


def build(settings: Train) -> PeftModel:
    """Return the model that `train` would train, on the meta device: shapes without memory.

    An encoder is a ViT of the sizes in `train.vision`.

    Raises:
        ModelError: the language model is not a LLaMA, or its sizes are unknown.
    """
    config = _configure_language(settings.language)
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    tokenizer = SimpleNamespace(convert_tokens_to_ids=lambda _: config.vocab_size - 1, **ids)
    with torch.device("meta"):
        vision = ViTModel(scratch.configure(settings.vision))
        llama = LlamaForCausalLM(config)
        model = models.assemble(vision, llama, cast(PreTrainedTokenizerBase, tokenizer), settings.vision)
        adapted = lora.adapt(model, settings.lora)
    models.unfreeze(model, settings)
    return adapted


def _configure_language(settings: Language) -> LlamaConfig:
    """Read the config of the weights from a folder or Hugging Face's cache, else use the sizes of the settings."""
    if settings.weights is not None:
        try:
            return language.read_config(settings.weights, settings.revision, local_files_only=True)
        except (OSError, ValueError):
            pass
    sizes = {name: getattr(settings, name) for name in ("width", "num_layers", "num_heads", "vocabulary_size")}
    if missing := [name for name, size in sizes.items() if size is None]:
        raise ModelError(
            f"train.language.weights: the config.json of {settings.weights} is not on this machine; set "
            f"train.language.{', '.join(missing)}, or get the weights"
        )
    width = sizes["width"]
    is_new = settings.weights is None
    return LlamaConfig(
        vocab_size=sizes["vocabulary_size"],
        hidden_size=width,
        num_hidden_layers=sizes["num_layers"],
        num_attention_heads=sizes["num_heads"],
        intermediate_size=4 * width if is_new else -(-8 * width // 3 // 256) * 256,  # LLaMA's own rule
        tie_word_embeddings=False,
    )


def list_parts(model: PeftModel) -> list[Part]:
    """Count parameters, and FLOPs of matrix products without attention, of each part."""
    counts = {name: [0, 0, 0] for name in (ENCODER, PROJECTOR, LANGUAGE, EMBEDDINGS, ADAPTERS)}
    for name, parameter in model.named_parameters():
        count = counts[_part_of(name)]
        count[0] += parameter.numel()
        count[1] += parameter.numel() * parameter.requires_grad
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and ".pooler." not in name:
            part = _part_of(f"{name}.weight")
            frozen = 2 if part == ENCODER else 4
            counts[part][2] += (6 if module.weight.requires_grad else frozen) * module.weight.numel()
    return [Part(name, *count) for name, count in counts.items()]


def _part_of(name: str) -> str:
    if ".lora_" in name:
        return ADAPTERS
    if "vision_tower" in name:
        return ENCODER
    if "multi_modal_projector" in name:
        return PROJECTOR
    return EMBEDDINGS if "embed_tokens" in name or "lm_head" in name else LANGUAGE


def count_flops(model: PeftModel, settings: Train, tokens: float, images: float, length: float) -> dict[str, float]:
    """FLOPs of a number of tokens (image slots included) and images, in sequences of `length` tokens, by part.

    `computed again` is the second forward pass of the language model under activation checkpointing.
    """
    patches = encoders.count_patches(settings.vision)
    numbers = {ENCODER: images * (1 + patches), PROJECTOR: images * patches}
    parts = list_parts(model)
    if not settings.next_token_weight:  # the language model runs on the answers alone: at most on all texts
        length *= 1 - numbers[PROJECTOR] / tokens
        tokens -= numbers[PROJECTOR]
        numbers[EMBEDDINGS] = 0  # no logits
    flops = {part.name: part.flops * numbers.get(part.name, tokens) for part in parts}
    text, vision = model.config.text_config, settings.vision
    attention = 12 * text.num_hidden_layers * text.hidden_size * length * tokens  # 4 forward, 8 backward
    factor = 12 if vision.is_trained else 4
    attention += factor * vision.num_layers * vision.width * (1 + patches) * numbers[ENCODER]
    flops["attention"] = attention
    if settings.activation_checkpointing:
        frozen = next(part.flops for part in parts if part.name == LANGUAGE)
        flops["computed again"] = frozen / 2 * tokens
    return flops


def find_memory(model: PeftModel, settings: Train, tokens: int, images: float, num_logits: float) -> Memory:
    """Memory at a forward pass of a number of tokens (padding included), images and positions with logits."""
    weights = num_trained = 0
    is_bf16, is_checkpointed = settings.precision == "bf16", settings.activation_checkpointing
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            num_trained += parameter.numel()
            weights += parameter.numel() * (6 if is_bf16 else 4)  # with autocast's copy
        else:
            is_halved = is_bf16 and _part_of(name) in (LANGUAGE, EMBEDDINGS)
            weights += parameter.numel() * (2 if is_halved else 4)
    config: Any = model.config.text_config
    layer = _count_language_bytes(settings, config.hidden_size, config.intermediate_size)
    layers = config.num_hidden_layers
    kept = layers * (2 if is_bf16 else 4) * config.hidden_size + layer if is_checkpointed else layers * layer
    kept += NORM_BYTES * config.hidden_size  # of the last normalization
    activations = kept * tokens + _count_encoder_bytes(settings) * images
    logits = num_logits * config.vocab_size * LOGIT_BYTES[settings.precision] * bool(settings.next_token_weight)
    return Memory(
        weights=weights,
        gradients=GRADIENT_BYTES * num_trained,
        optimizer=OPTIMIZER_BYTES * num_trained,
        activations=round(activations),
        logits=round(logits),
    )


def _count_language_bytes(settings: Train, width: int, mlp: int) -> int:
    """Bytes that a LLaMA layer keeps for each token."""
    size = 2 if settings.precision == "bf16" else 4
    kept = 2 * NORM_BYTES * width  # inputs of the normalizations
    kept += 4 * size * width  # query, key, value and result of attention
    kept += 3 * size * mlp  # gate, its activation, and what it is multiplied by
    kept += size * settings.lora.rank * len(settings.lora.targets)
    inputs = {"q_proj": "attention", "k_proj": "attention", "v_proj": "attention", "gate_proj": "mlp", "up_proj": "mlp"}
    seen = {"o_proj"}  # its input is the result of attention
    for target in settings.lora.targets:
        num = mlp if target == "down_proj" else width
        if settings.lora.dropout:
            kept += (size + 1) * num  # its own input, and the mask of the dropout
        elif size == 2:
            kept += size * num  # autocast makes a copy for each
        elif (source := inputs.get(target, target)) not in seen:
            kept += size * num
            seen.add(source)
    return kept


def _count_encoder_bytes(settings: Train) -> float:
    """Bytes that the encoder keeps for each image."""
    vision = settings.vision
    if not vision.is_trained:
        return 0
    # Two normalizations; inputs of query, key and value; they and the result; input and activation of the MLP.
    layer = 2 * 4 + (2 * (3 + 4 + 1 + 4 + 4) if settings.precision == "bf16" else 4 * (1 + 4 + 1 + 4 + 4))
    kept = vision.num_layers * 4 + layer if settings.activation_checkpointing else vision.num_layers * layer
    return kept * vision.width * (1 + encoders.count_patches(vision))
