"""Write a trained model: merged, as a plain LLaVA, and as an adapter in peft's format.

    model.safetensors, config.json, ...     the merged model, for AutoModelForImageTextToText and AutoProcessor
    adapter/adapter_model.safetensors       the LoRA factors, the encoder and the projector
    adapter/adapter_config.json             for PeftModel.from_pretrained, on a LLaVA with the published language model

The adapter holds everything but the language model, so that a user needs no other weights than the published ones of
`train.language.weights`. If these are null, the language model is new and has no published base: there is no adapter.

Tensors are merged one by one and written in files of 2 GB, so that the memory in use is bounded. `checks` reads each
written file again.
"""

import copy
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
from transformers.core_model_loading import revert_weight_conversion

from openmedq import paths
from openmedq.model import checks, digests, lora

PARTS = ("vision_tower", "multi_modal_projector")  # saved whole in the adapter, which is peft's `modules_to_save`
SHARD_BYTES = 2_000_000_000

_log = logging.getLogger(__name__)


def save(model: PeftModel, processor: LlavaProcessor, folder: Path) -> None:
    """Write the model and its processor, and check what was written; the model is not changed.

    The merged model is bf16 if a part of the model is, otherwise fp32. The adapter keeps the precision of training.

    Raises:
        ModelError: a frozen tensor is not as it was built, or the written model is not W + s B A, can't be loaded, or
            is inactive.
    """
    llava, dtype = model.base_model.model, find_dtype(model)
    num_frozen = checks.check_base(model)
    folder.mkdir(parents=True, exist_ok=True)
    _write_merged(model, folder, dtype)
    _describe(llava.config, dtype).save_pretrained(folder)
    llava.generation_config.save_pretrained(folder)
    processor.save_pretrained(folder)
    num_merged = checks.check_merged(model, folder, dtype)
    _log.info(f"merged {num_merged} of {num_merged} adapters, {num_frozen - num_merged} other frozen tensors unchanged")
    if has_base(model):
        _write_adapter(model, folder / paths.ADAPTER)
        num_active = checks.check_adapter(model, processor, folder / paths.ADAPTER, list_adapter(model))
        _log.info(f"{paths.ADAPTER}: {num_active} of {num_merged} adapters active when loaded")


def _describe(config: LlavaConfig, dtype: torch.dtype) -> LlavaConfig:
    """Return the configuration to write, without folders of this machine."""
    described = copy.deepcopy(config)
    described.architectures, described.dtype = [LlavaForConditionalGeneration.__name__], dtype
    for part in (described.text_config, described.vision_config):
        part.name_or_path = paths.hide_folders(part.name_or_path)
    return described


def has_base(model: PeftModel) -> bool:
    """Whether the language model is a published one, to which an adapter can be added."""
    return model.peft_config[lora.NAME].base_model_name_or_path is not None


def find_dtype(model: PeftModel) -> torch.dtype:
    """Return the precision of the merged model."""
    has_bf16 = any(tensor.dtype is torch.bfloat16 for tensor in model.parameters())
    return torch.bfloat16 if has_bf16 else torch.float32


def count_bytes(model: PeftModel) -> int:
    """Return the size of the weights that `save` writes."""
    size = find_dtype(model).itemsize
    merged = sum(tensor.numel() * size for tensor in lora.find_tensors(model).values())
    return merged + (sum(tensor.nbytes for tensor in list_adapter(model).values()) if has_base(model) else 0)


def list_adapter(model: PeftModel) -> dict[str, Tensor]:
    """Return the tensors of the adapter by peft's names: LoRA's factors, and the parts that are saved whole."""
    listed = {}
    for name, tensor in model.base_model.model.state_dict().items():
        if ".lora_" in name or any(f".{part}." in f".{name}" for part in PARTS):
            listed[f"base_model.model.{name.replace(f'.{lora.NAME}.', '.')}"] = tensor
    return listed


def _write_merged(model: PeftModel, folder: Path, dtype: torch.dtype) -> None:
    """Write the merged tensors under the names of `save_pretrained`, in one file or in files of 2 GB and an index."""
    tensors, adapters = lora.find_tensors(model), lora.find_adapters(model)

    def compute(name: str) -> Tensor:
        tensor = lora.merge(adapters[name]) if name in adapters else tensors[name].detach().cpu()
        return (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()

    groups = list(_divide(tensors, dtype.itemsize))
    files: dict[str, str] = {}
    for number, names in enumerate(groups, start=1):
        part = f"-{number:05d}-of-{len(groups):05d}" if len(groups) > 1 else ""
        shard = revert_weight_conversion(model.base_model.model, {name: compute(name) for name in names})
        digests.save(shard, folder / f"model{part}.safetensors")
        files |= dict.fromkeys(shard, f"model{part}.safetensors")
    if len(groups) > 1:
        size = sum(tensor.numel() for tensor in tensors.values()) * dtype.itemsize
        text = json.dumps({"metadata": {"total_size": size}, "weight_map": files}, indent=2, sort_keys=True)
        (folder / "model.safetensors.index.json").write_text(text + "\n", encoding="utf-8")


def _divide(tensors: dict[str, Tensor], itemsize: int) -> Iterator[list[str]]:
    """Yield names in groups of at most SHARD_BYTES, or of one tensor."""
    group: list[str] = []
    size = 0
    for name, tensor in tensors.items():
        if group and size + tensor.numel() * itemsize > SHARD_BYTES:
            yield group
            group, size = [], 0
        group.append(name)
        size += tensor.numel() * itemsize
    yield group


def _write_adapter(model: PeftModel, folder: Path) -> None:
    folder.mkdir()
    config = copy.deepcopy(model.peft_config[lora.NAME])
    config.modules_to_save, config.inference_mode = list(PARTS), True
    config.save_pretrained(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in list_adapter(model).items()}
    digests.save(tensors, folder / "adapter_model.safetensors")
