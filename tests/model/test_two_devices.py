"""Losses and gradients of two processes are those of one, under DistributedDataParallel and `fully_shard`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from openmedq.model import model as models
from openmedq.training.learner import Learner

from . import tiny
from .test_batch import make_batch
from .test_learner import compare

pytestmark = [pytest.mark.usefixtures("torch_on_one_thread"), pytest.mark.slow]

CASES = {  # the rows of each process, and changed settings
    "text beside images": ([[1, 2], [0, 4]], {}),  # no image, three images
    "contrastive": ([[0], [3, 4]], {"contrastive_weight": 0.5}),  # one image, three images
    "contrastive, text beside images": ([[1, 2], [0, 3]], {"contrastive_weight": 0.5}),
    "contrastive alone": ([[0, 1], [3, 4]], {"contrastive_weight": 1.0, "next_token_weight": 0.0}),
    "text alone": ([[1], [2]], {"contrastive_weight": 0.5}),
}


def make(changes: dict[str, Any]) -> tuple[Learner, Any]:
    torch.manual_seed(0)
    settings = tiny.make_settings(**changes)
    model, processor = models.build(settings, tiny.texts())
    tiny.shake(model)
    return Learner(model, settings).train(), processor


def measure(learner: nn.Module, processor: Any, rows: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
    """Both sums, and the gradients of their total."""
    losses = learner(make_batch(processor, rows))
    (losses.next_token + losses.contrastive).backward()
    whole = {
        name.removeprefix("module."): each.grad.full_tensor() if isinstance(each.grad, DTensor) else each.grad
        for name, each in learner.named_parameters()
        if each.grad is not None
    }
    return torch.stack([losses.next_token, losses.contrastive]).detach(), whole


def divide(learner: Learner) -> nn.Module:
    """Divide each layer and the rest over the processes."""
    model = learner.model.get_base_model().model
    for layer in (*model.language_model.layers, *model.vision_tower.layers):
        fully_shard(layer)
    return fully_shard(learner)


def run(rank: int, folder: str) -> None:
    """Be one of two processes; the first writes what both found."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", f"file://{folder}/meeting", rank=rank, world_size=2, timeout=timedelta(seconds=30)
    )
    found = {}
    for name, (rows, changes) in CASES.items():
        for way in ("ddp", "fsdp"):
            learner, processor = make(changes)
            wrapped = DistributedDataParallel(learner) if way == "ddp" else divide(learner)
            assert way == "ddp" or all(isinstance(each, DTensor) for each in wrapped.parameters())
            losses, gradients = measure(wrapped, processor, rows[rank])
            distributed.all_reduce(losses)
            found[name, way] = losses, {each: 2 * gradient for each, gradient in gradients.items()}  # they are means
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("two")
    torch.multiprocessing.spawn(run, (str(folder),), nprocs=2)
    return torch.load(Path(folder) / "found.pt")


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", CASES)
def test_two_processes_compute_what_one_does(name: str, way: str, found: Any) -> None:
    rows, changes = CASES[name]
    losses, gradients = found[name, way]
    alone, expected = measure(*make(changes), [*rows[0], *rows[1]])
    torch.testing.assert_close(losses, alone, atol=1e-5, rtol=1e-5)
    missing = gradients.keys() - expected.keys()
    assert not missing or name == "text alone", "one process does not run the encoder on text"
    compare(gradients, expected | {each: torch.zeros_like(gradients[each]) for each in missing})
