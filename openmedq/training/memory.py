"""The largest micro batch for a GPU's memory (`train.micro_batch_size: auto`), by measurement.

One sample, two, four and so on are tried, as long as their forward and backward pass fits.
"""

from collections.abc import Callable
from math import inf
from typing import Any

import torch
from torch import nn

from openmedq.config import Train
from openmedq.errors import ModelError, ParamsError
from openmedq.model import encoders
from openmedq.model.batch import Batch, collate
from openmedq.model.prompt import IGNORED
from openmedq.training import objectives
from openmedq.training.devices import Devices

SHARE = 0.9  # of the free memory: the rest is for fragments, and for what other libraries allocate
MOMENT_BYTES = 8  # of AdamW's two moments in fp32, per trained parameter


def check_micro_batch(settings: Train, devices: Devices) -> None:
    """Raise ParamsError if `train.micro_batch_size` is auto, and training does not use a GPU."""
    if settings.micro_batch_size == "auto" and devices.device.type != "cuda":
        raise ParamsError("train.micro_batch_size: auto measures the memory of a GPU, but none is used; set a number")


def choose_micro_batch(learner: nn.Module, settings: Train, devices: Devices) -> Train:
    """Return the settings with `micro_batch_size` as a number, the same on all devices. ModelError if none fits."""
    if settings.micro_batch_size != "auto":
        return settings
    makers = [_make(learner, settings, num_images) for num_images in {0, _count_images(settings)}]
    torch.cuda.empty_cache()
    parameters: list[Any] = [each for each in learner.parameters() if each.requires_grad]
    trained = sum(each.to_local().numel() if hasattr(each, "to_local") else each.numel() for each in parameters)
    free_bytes = torch.cuda.mem_get_info(devices.device)[0] - MOMENT_BYTES * trained

    def fits(num_samples: int) -> bool:
        peak = max(_measure(learner, settings, make(num_samples), devices.device) for make in makers)
        return not devices.max_on_hosts([peak > SHARE * free_bytes])[0]

    size = find_largest(settings.batch_size // devices.num, fits)
    if not size:
        raise ModelError(
            f"train.max_tokens: a sample of {settings.max_tokens} tokens does not fit into the GPU's memory "
            f"({free_bytes / 2**30:.1f} GiB free); lower it, or set train.activation_checkpointing: true"
        )
    return settings.model_copy(update={"micro_batch_size": size})


def find_largest(most: int, fits: Callable[[int], bool]) -> int:
    """Double a number of samples as long as it fits, to at most `most`; 0 if one sample does not fit."""
    size = 0
    while size < most and fits(larger := min(most, 2 * size or 1)):
        size = larger
    return size


def _count_images(settings: Train) -> int:
    """Return the most images in `max_tokens` tokens: a micro batch of short samples may consist of images alone."""
    return settings.max_tokens // encoders.count_patches(settings.vision)


def _make(learner: Any, settings: Train, num_images: int) -> Callable[[int], Batch]:
    """Return a function that makes batches of samples of `max_tokens`: image slots, then learned tokens."""
    config, side = learner.model.get_base_model().config, settings.vision.image_size_px
    slots = num_images * encoders.count_patches(settings.vision)
    ids = torch.full((settings.max_tokens,), config.text_config.eos_token_id)
    ids[:slots] = config.image_token_index
    labels = ids.clone()
    labels[:slots] = IGNORED
    image = torch.zeros(3, side, side, dtype=torch.uint8)
    return lambda num: collate([ids] * num, [image] * num_images * num, pad_id=0, labels=[labels] * num)


def _measure(learner: nn.Module, settings: Train, batch: Batch, device: torch.device) -> float:
    """Return the bytes that a forward and backward pass adds to the memory in use, at its peak; inf: out of memory."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_reserved(device)
    try:
        losses = learner(batch.to(device))
        objectives.combine(losses, settings, len(batch.learned), len(batch.pixels)).backward()
        return torch.cuda.max_memory_reserved(device) - before
    except torch.OutOfMemoryError:
        return inf
    finally:
        learner.zero_grad(set_to_none=True)
