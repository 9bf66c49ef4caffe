"""The devices of a training: one process each, started by torchrun; data parallel or sharded.

Counts of the batches are summed on the host, over gloo, so that no device is waited for.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from openmedq.config import Train
from openmedq.model.model import pick_device
from openmedq.model.speed import find_layers, make_deterministic

HOST_TIMEOUT = timedelta(days=1)  # one process trains the tokenizer or saves the model while the others wait

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Devices:
    """This process's device, and its place among the processes."""

    device: torch.device
    rank: int = 0
    num: int = 1
    is_sharded: bool = False
    host: Any = None  # the process group of the hosts; None: one process

    @property
    def load_device(self) -> torch.device:
        """Where the model is built, before `place`."""
        return torch.device("cpu") if self.is_sharded else self.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def sum_on_hosts(self, values: Sequence[float]) -> list[float]:
        """Sum numbers of the hosts over the processes."""
        return self._reduce_on_hosts(values, dist.ReduceOp.SUM)

    def max_on_hosts(self, values: Sequence[float]) -> list[float]:
        """Return the largest of the processes, for each number."""
        return self._reduce_on_hosts(values, dist.ReduceOp.MAX)

    def share(self, make: Callable[[], T]) -> T:
        """Return what `make` returns in the main process, in all processes; it must be picklable."""
        if self.host is None:
            return make()
        shared: list[Any] = [make() if self.is_main else None]
        dist.broadcast_object_list(shared, group=self.host)
        return cast(T, shared[0])

    def collect(self, value: T) -> list[T]:
        """Return the values of all processes, by rank; they must be picklable."""
        if self.host is None:
            return [value]
        values: list[Any] = [None] * self.num
        dist.all_gather_object(values, value, self.host)
        return values

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the devices, in place, without waiting for it."""
        if self.num > 1:
            dist.all_reduce(tensor)
        return tensor

    def wait(self) -> None:
        """Wait for all processes."""
        if self.host is not None:
            dist.barrier(self.host)

    def place(self, learner: nn.Module) -> None:
        """Move the learner to the device; sharded: divide its parameters among the devices, layer by layer.

        A sharded learner is built on the host, because as a whole it may be too large for the device.
        """
        if not self.is_sharded:
            learner.to(self.device)
            return
        mesh = init_device_mesh(self.device.type, (self.num,))
        for part in (*find_layers(learner), learner):
            fully_shard(part, mesh=mesh)

    def gather(self, learner: nn.Module) -> None:
        """Undo the sharding, on the host of the main process."""
        _reshard(learner)
        modules = list(learner.modules()) if self.is_sharded else []
        for each in modules:
            for name, parameter in list(each.named_parameters(recurse=False)):
                whole = cast(DTensor, parameter).full_tensor()
                if self.is_main:
                    setattr(each, name, nn.Parameter(whole.cpu(), parameter.requires_grad))
            if isinstance(each, FSDPModule):
                each.__class__ = type(each).__mro__[2]  # the class that fully_shard replaced

    def wrap(self, module: nn.Module) -> nn.Module:
        """Wrap a module so that its gradients are averaged over the devices; again when other parameters train."""
        _reshard(module)  # parameters that a validation has left whole would not notice that they train now
        if self.num == 1 or self.is_sharded:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        # Buffers are constants. Sending them in each forward pass would hang where processes run different numbers.
        buffers = [name for name, _ in module.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, buffers)
        return DistributedDataParallel(module, ids, gradient_as_bucket_view=True)

    def accumulate(self, module: nn.Module, is_last: bool) -> AbstractContextManager[Any]:
        """Average the gradients in the last micro batch of an update only."""
        if isinstance(module, FSDPModule):
            module.set_requires_gradient_sync(is_last)
        return module.no_sync() if isinstance(module, DistributedDataParallel) and not is_last else nullcontext()

    def _reduce_on_hosts(self, values: Sequence[float], operation: Any) -> list[float]:
        if self.host is None:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, operation, self.host)
        reduced: list[float] = tensor.tolist()
        return reduced


def _reshard(learner: nn.Module) -> None:
    for module in learner.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def start(settings: Train, device: str, sharding: str = "ddp") -> Devices:
    """Set up seeds and determinism of a training, and join the other processes: `join`.

    All processes draw the same initial weights, because their seed is the same until the first update.

    Raises:
        ModelError: the device is not available.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.manual_seed(settings.seed)
    make_deterministic(settings, pick_device(device))
    return join(device, sharding)


def join(device: str, sharding: str = "ddp") -> Devices:
    """Return this process's device, and join the other processes if the environment names any, as torchrun's does.

    Raises:
        ModelError: the device is not available.
    """
    chosen = pick_device(device)
    num = int(os.environ.get("WORLD_SIZE", "1"))
    if num == 1:
        return Devices(chosen)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    host = dist.new_group(backend="gloo", timeout=HOST_TIMEOUT)
    return Devices(chosen, dist.get_rank(), num, sharding == "fsdp", host)
