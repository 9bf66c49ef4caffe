"""Settings of speed and memory, applied to a model before it is trained; names and values of weights stay.

With precision bf16, what trains keeps fp32 weights: autocast, in the learner, computes with bf16 copies of them, which
it makes once per micro batch. Frozen weights are stored in bf16, and so is the residual stream of the language model;
its norms compute in fp32.
"""

import os
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_layers import GradientCheckpointingLayer

from openmedq.config import Train
from openmedq.errors import ModelError

FP32_ATTENTION = "sdpa_fp32"
RECOMPILE_LIMIT = 64


def make_deterministic(settings: Train, device: torch.device) -> None:
    """Use deterministic kernels: always on a CPU, on a GPU by `deterministic`. Call it before CUDA starts.

    On a GPU, operations without a deterministic kernel warn.
    """
    is_cpu = device.type == "cpu"
    if is_cpu or settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # of CUDA's matrix products
        torch.backends.cuda.enable_cudnn_sdp(False)  # its backward pass is not deterministic; flash attention's is
    torch.use_deterministic_algorithms(is_cpu or settings.deterministic, warn_only=not is_cpu)
    # It writes to each new tensor, for code that reads before it writes.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def prepare(model: PeftModel, settings: Train, device: torch.device) -> None:
    """Apply bf16, activation checkpointing, Liger's kernels and compilation to a model, in place.

    Raises:
        ModelError: `liger` without a GPU or without the package.
    """
    llava = model.get_base_model()
    if settings.precision == "bf16":
        _compute_in_bf16(llava, device)
    if settings.liger:
        _use_liger(llava, device)
    if settings.activation_checkpointing:
        llava.activation_checkpointing_enable({"use_reentrant": False})
    if settings.compile:
        # All layers share transformers' `forward_with_checkpointing`: beyond 8 variants (model, mode, shapes of one row
        # or several), torch would run them uncompiled.
        torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
        for layer in find_layers(llava):
            layer.compile(dynamic=True)  # in place; `torch.compile` would wrap the layer and change names


def find_layers(model: nn.Module) -> list[nn.Module]:
    """Return the repeated layers of the encoder and of the language model."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def _compute_in_bf16(llava: Any, device: torch.device) -> None:
    for module in llava.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False  # otherwise adapters copy their input (B, T, D) to fp32
    if device.type == "cpu":
        AttentionInterface.register(FP32_ATTENTION, _attend_in_fp32)
        AttentionMaskInterface.register(FP32_ATTENTION, sdpa_mask)
        llava.set_attn_implementation(FP32_ATTENTION)


def _attend_in_fp32(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attend in fp32: on a CPU, the backward pass of torch's attention takes two to four times as long in bf16."""
    with torch.autocast(query.device.type, enabled=False):
        attended, _ = sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), attention_mask, **options
        )
    return attended.to(query.dtype), None


def _use_liger(llava: Any, device: torch.device) -> None:
    """Replace norms, rotary embedding and gated activations of the language model, for the whole process."""
    if device.type != "cuda":
        raise ModelError("train.liger: true, but Liger's kernels need a CUDA device; set it to false")
    try:
        from liger_kernel.transformers import apply_liger_kernel_to_llama
    except ModuleNotFoundError as error:
        raise ModelError(
            f"train.liger: true, but {error.name} is not installed; pip install 'openmedq[liger]', or set it to false"
        ) from None
    # The learner computes logits at learned positions only, so that a fused cross-entropy gains nothing.
    apply_liger_kernel_to_llama(fused_linear_cross_entropy=False, model=llava.model.language_model)
