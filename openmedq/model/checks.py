"""Checks of a saved model, done at each save: reported failures of other tools are errors here.

- A merge that changed no weight and reported success: each adapted weight must differ from its base and be W + s B A.
- Training that changed frozen weights: their SHA-256 is taken when the model is built, and compared.
- Wrong names of tensors, which loading hides by drawing random weights: no name may be missing or unexpected, and each
  loaded tensor must have the bits that were to be written.
- An adapter that loads without effect: peft loads it, its tensors have the same bits, and it changes the logits.

Memory is bounded: a saved file is mapped into memory, and one tensor at a time is merged and compared.
"""

import copy
import hashlib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor
from transformers import AutoModelForImageTextToText, LlavaProcessor

from openmedq.errors import ModelError, shorten
from openmedq.model import lora

NUM_WORDS = 16  # of the sample that is run through a loaded adapter


def remember_base(model: PeftModel) -> None:
    """Keep the SHA-256 of each frozen tensor; call it when the model is built, in its final precision."""
    names = [name for name, tensor in lora.find_tensors(model).items() if not tensor.requires_grad]
    cast(Any, model).base_digests = _digest(model, names)


def check_base(model: PeftModel) -> int:
    """Return the number of frozen tensors; ModelError if one is not as it was built."""
    before = cast("dict[str, str]", model.base_digests)
    after = _digest(model, before)
    if changed := sorted(name for name in before if before[name] != after[name]):
        raise ModelError(
            f"{len(changed)} of {len(before)} frozen tensors changed in training, such as {changed[0]}; nothing was "
            "saved; this is a bug: please report it with params.yaml"
        )
    return len(before)


@torch.no_grad()
def check_merged(model: PeftModel, folder: Path, dtype: torch.dtype) -> int:
    """Load the merged model with transformers and compare it with the model in memory; return the number of adapters.

    Raises:
        ModelError: a name is missing or unexpected, an adapter is without effect, or a tensor has other bits.
    """
    loaded, names = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names[kind]:
            raise ModelError(f"the saved model has {len(names[kind])} {kind}, such as {min(map(str, names[kind]))}")
    adapters, expected, found = lora.find_adapters(model), lora.find_tensors(model), lora.find_tensors(loaded)
    if found.keys() != expected.keys():
        raise ModelError(f"the saved model has other tensors, such as {min(found.keys() ^ expected.keys())}")
    unchanged = []
    for name, tensor in expected.items():
        base = tensor.cpu().to(found[name].dtype)
        if name not in adapters:
            _compare(name, found[name], base)
            continue
        factors = [getattr(adapters[name], letter)[lora.NAME].weight.cpu().float() for letter in ("lora_B", "lora_A")]
        delta = adapters[name].scaling[lora.NAME] * (factors[0] @ factors[1])
        _compare(name, found[name], (tensor.cpu().float() + delta).to(dtype))
        if torch.equal(found[name], base):
            unchanged.append(name)
    if unchanged or not adapters:
        raise ModelError(
            f"merged {len(adapters) - len(unchanged)} of {len(adapters)} adapters: "
            f"{min(unchanged, default='no layer')} is as before the training; train more updates, or raise train.lr"
        )
    return len(adapters)


@torch.no_grad()
def check_adapter(model: PeftModel, processor: LlavaProcessor, folder: Path, expected: Mapping[str, Tensor]) -> int:
    """Load the adapter with peft and compare it with the model in memory; return the number of active adapters.

    Raises:
        ModelError: a tensor is missing or has other bits, or the adapter does not change the logits.
    """
    tensors = [*model.parameters(), *model.buffers()]
    plain = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors}).unload()  # shares the tensors
    try:
        with warnings.catch_warnings():  # of missing tensors, which are found below
            warnings.simplefilter("ignore")
            loaded = PeftModel.from_pretrained(plain, folder).eval()
    except Exception as error:  # of many types
        raise ModelError(f"the saved adapter can't be loaded, so it was not kept: {shorten(error)}") from error
    found = get_peft_model_state_dict(loaded, save_embedding_layers=False)
    if found.keys() != expected.keys():
        raise ModelError(f"the loaded adapter has other tensors, such as {min(found.keys() ^ expected.keys())}")
    for name, tensor in expected.items():
        _compare(f"{folder.name}: {name}", found[name].cpu(), tensor.cpu())
    inputs = _make_inputs(model, processor)
    is_mixed = any(tensor.dtype is torch.bfloat16 for tensor in tensors)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=is_mixed):
        logits = loaded(**inputs).logits
        with loaded.disable_adapter():
            base = loaded(**inputs).logits
    layers = lora.find_adapters(loaded).values()
    num_active = sum(not layer.disable_adapters and lora.NAME in layer.active_adapters for layer in layers)
    num_expected = len(lora.find_adapters(model))
    if num_active < num_expected or torch.equal(logits, base):
        change = "do not change" if torch.equal(logits, base) else "change"
        raise ModelError(
            f"{num_active} of {num_expected} adapters are active when loaded, and they {change} the logits; "
            "train more updates, or raise train.lr"
        )
    return num_active


def _make_inputs(model: PeftModel, processor: LlavaProcessor) -> dict[str, Tensor]:
    """Return one image of noise and a few tokens."""
    config, side = model.base_model.model.config, processor.image_processor.size["height"]
    words = [number for number in range(NUM_WORDS) if number != config.image_token_index]
    ids = torch.tensor([[config.image_token_index] * config.image_seq_length + words], device=model.device)
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels.to(model.device)}


def _compare(name: str, found: Tensor, expected: Tensor) -> None:
    if found.dtype is not expected.dtype or not torch.equal(_view(found), _view(expected)):
        raise ModelError(f"the saved tensor {name} is not the trained one; nothing was saved")
    if found.is_floating_point() and not found.isfinite().all():
        raise ModelError(f"the saved tensor {name} is not finite; lower train.lr; nothing was saved")


def _view(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().flatten().view(torch.uint8)


def _digest(model: PeftModel, names: Iterable[str]) -> dict[str, str]:
    tensors = lora.find_tensors(model)
    return {name: hashlib.sha256(_view(tensors[name].cpu()).numpy().data).hexdigest() for name in names}
