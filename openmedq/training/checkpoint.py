"""Checkpoints of a training, in data/checkpoints: the last two, and the weights of the lowest validation loss.

    update-00000200/state.safetensors   what trains and its AdamW moments, under their names; the losses
    update-00000200/state.json          fingerprint, counts, sha256 of the tensors
    best/                               the same, without the moments

The folder is no DVC output, because DVC removes a stage's outputs before it runs the stage. Random numbers need no
state: every update seeds them. A training with another fingerprint (data, settings, initial weights) starts anew. Other
code, versions, devices or a smaller micro batch resume, with a warning: their sums have another order.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from openmedq import paths
from openmedq.errors import StaleError
from openmedq.storage.publish import publish, remove
from openmedq.training.devices import Devices
from openmedq.training.history import History
from openmedq.training.optimizer import Trained

_log = logging.getLogger(__name__)

NUM_KEPT = 2
BEST = "best"
SCHEMA = 1  # of the files

Fingerprint = Mapping[str, str]  # part: digest; parts of `SOFT` may differ
SOFT = ("code", "versions", "devices")


@dataclass
class Checkpoints:
    """Saves and finds the checkpoints of one training."""

    fingerprint: Fingerprint
    devices: Devices
    folder: Path = field(default=paths.CHECKPOINTS)

    def save(self, name: str, trained: Trained, optimizer: torch.optim.Optimizer | None, history: History) -> None:
        """Write a checkpoint whole or not at all, and remove all but the last two; DiskFullError."""
        tensors = dict(_read(trained, optimizer))
        if self.devices.is_main:
            tensors["history.losses"] = torch.tensor(history.losses, dtype=torch.float64)
            size_bytes = sum(tensor.nbytes for tensor in tensors.values())
            with publish(self.folder / name, size_bytes) as folder:
                folder.mkdir()
                save_file(tensors, folder / "state.safetensors")
                counts = {key: value for key, value in asdict(history).items() if key != "losses"}
                state = {
                    "schema": SCHEMA,
                    "fingerprint": dict(self.fingerprint),
                    "sha256": hash_file(folder / "state.safetensors"),
                    "history": counts,
                }
                (folder / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
            for old in self._list()[:-NUM_KEPT]:
                remove(old)
        self.devices.wait()

    def resume(self, trained: Trained, optimizer: torch.optim.Optimizer) -> History:
        """Load the newest checkpoint that is whole and fits; return its history, or a new one."""
        for folder in reversed(self._list()):
            try:
                history = self._load(folder, trained, optimizer)
            except StaleError as error:
                _log.warning(str(error))
                continue
            if history is not None:
                _log.info(f"{folder}: resuming after update {history.num_steps}")
                return history
        return History()

    def load_best(self, trained: Trained) -> None:
        """Load the weights of the lowest validation loss."""
        self._load(self.folder / BEST, trained, None)

    def clear(self) -> None:
        """Remove all checkpoints, at the end of the training."""
        if self.devices.is_main:
            remove(self.folder)
        self.devices.wait()

    def _list(self) -> list[Path]:
        return sorted(self.folder.glob("update-*"))

    def _load(self, folder: Path, trained: Trained, optimizer: torch.optim.Optimizer | None) -> History | None:
        try:
            state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            saved, counts, sha256 = state["fingerprint"], state["history"], state["sha256"]
            is_whole = state["schema"] == SCHEMA and sha256 == hash_file(folder / "state.safetensors")
        except (OSError, ValueError, KeyError, TypeError):
            is_whole = False
        if not is_whole:
            raise StaleError(f"{folder}: the checkpoint is damaged and is not used; remove it")
        differing = [part for part in self.fingerprint if saved.get(part) != self.fingerprint[part]]
        if hard := [part for part in differing if part not in SOFT]:
            _log.warning(f"{folder}: of another training ({', '.join(hard)} differ); training starts anew")
            return None
        if differing:
            _log.warning(f"{folder}: {', '.join(differing)} differ since it was saved; results are equal to about 1e-5")
        tensors = load_file(folder / "state.safetensors")
        losses = tensors.pop("history.losses").tolist()
        _write(trained, optimizer, tensors)
        return History(losses=losses, **counts)


def _read(trained: Trained, optimizer: torch.optim.Optimizer | None) -> Iterator[tuple[str, Tensor]]:
    """Yield what trains and its moments, whole, on the host."""
    for name, parameter in trained.items():
        yield f"weights.{name}", _gather(parameter.detach())
        for key, value in (optimizer.state.get(parameter, {}) if optimizer else {}).items():
            yield f"optimizer.{key}.{name}", _gather(value)


def _gather(tensor: Tensor) -> Tensor:
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.cpu().contiguous().clone()


@torch.no_grad()
def _write(trained: Trained, optimizer: torch.optim.Optimizer | None, tensors: dict[str, Tensor]) -> None:
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "weights":
            trained[rest].copy_(_like(value, trained[rest]))
        elif optimizer is not None:
            key, _, parameter_name = rest.partition(".")
            parameter = trained[parameter_name]
            optimizer.state[parameter][key] = value if key == "step" else _like(value, parameter)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """Place a tensor as a parameter is placed."""
    value = value.to(parameter.device)
    if isinstance(parameter, DTensor):
        return distribute_tensor(value, parameter.device_mesh, parameter.placements)
    return value
