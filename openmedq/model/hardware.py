"""What torch finds on this machine."""

import torch


def find_gpus() -> list[tuple[str, int]]:
    """Return name and memory in bytes of each CUDA device."""
    properties = (torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count()))
    return [(each.name, each.total_memory) for each in properties]
