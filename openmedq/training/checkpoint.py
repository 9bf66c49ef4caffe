"""Checkpoints of a training, in a folder of data/checkpoints: the last two, and the best by validation loss.

    5feceb66/update-00000200/state.safetensors   what trains and its AdamW moments, under their names; the losses
    5feceb66/update-00000200/state.json          fingerprint, step, counts
    5feceb66/best-00000120/                      the same, without the moments

The folder's name is a digest of data, settings and initial weights. If one of them changes, the training starts anew in
a folder of its own. The old folder stays: the old training resumes when the change is undone. Other code, versions,
devices or settings of ROUNDING resume, with a warning. Random numbers need no state: every update seeds them.

No folder is a DVC output, because DVC removes a stage's outputs before it runs the stage.
"""

import hashlib
import json
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from openmedq import paths
from openmedq.config.learning import ROUNDING
from openmedq.errors import ModelError, StaleError
from openmedq.model import digests
from openmedq.storage.publish import publish, remove
from openmedq.training.devices import Devices
from openmedq.training.history import History
from openmedq.training.optimizer import Trained

_log = logging.getLogger(__name__)

TENSORS = "state.safetensors"
NUM_KEPT = 2
NEW = "new"  # a checkpoint before it has its name: one name, so that there is one lock file
SCHEMA = 1  # of the files

Fingerprint = Mapping[str, str]  # part: digest
SOFT = frozenset(("code", "versions", "devices", *ROUNDING))  # these resume with a warning


@dataclass
class Checkpoints:
    """Saves and finds the checkpoints of one training."""

    fingerprint: Fingerprint
    devices: Devices
    root: Path = paths.CHECKPOINTS
    _kept: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=NUM_KEPT))  # with the best weights' name

    def save(self, trained: Trained, optimizer: torch.optim.Optimizer, history: History) -> str:
        """Write a checkpoint whole or not at all; return its path below `root`. Only the last two are kept.

        Raises:
            DiskFullError: the disk is full; the checkpoints before are kept.
        """
        path = self._save(f"update-{history.num_steps:08}", trained, optimizer, history)
        self._kept.append((Path(path).name, _name_best(history)))
        if self.devices.is_main:
            for old in self._list("update", "best"):
                if not any(old.name in names for names in self._kept):
                    remove(old)
        self.devices.wait()
        return path

    def save_best(self, trained: Trained, history: History) -> str:
        """Write the weights of the lowest validation loss, as `save` does."""
        path = self._save(_name_best(history), trained, None, history)
        self.devices.wait()
        return path

    def resume(self, trained: Trained, optimizer: torch.optim.Optimizer) -> History:
        """Load the newest checkpoint of this training that is whole; return its history, or a new one."""
        for folder in reversed(self._list("update")):
            if (state := _read_state(folder)) is None:
                _log.warning(f"{folder}: the checkpoint is damaged, and is not used")
                continue
            history = _load(folder, state, trained, optimizer)
            self._kept.append((folder.name, _name_best(history)))
            if differing := self._compare(state):
                also = "results can differ by rounding or more"
                _log.warning(f"{folder}: saved with other {', '.join(differing)}; {also}")
            _log.info(f"{folder}: resuming after update {history.num_steps}")
            return history
        self._name_other()
        return History()

    def load_best(self, trained: Trained, history: History) -> None:
        """Load the weights of the lowest validation loss; StaleError if they are damaged."""
        folder = self.folder / _name_best(history)
        if (state := _read_state(folder)) is None:
            raise StaleError(
                f"{folder}: the weights of the lowest validation loss are damaged; set train.select: last to keep the "
                f"last weights, or remove {self.folder} to train anew"
            )
        _load(folder, state, trained, None)

    def finish(self, losses: Path) -> None:
        """Keep the newest checkpoint, marked by the md5 of the losses: DVC may fail to record the model."""
        if self.devices.is_main:
            for folder in self._list("update")[:-1]:
                remove(folder)
            (self.folder / Path(paths.FINISHED).name).write_text(hashlib.md5(losses.read_bytes()).hexdigest())
        self.devices.wait()

    @property
    def folder(self) -> Path:
        """The folder of this training."""
        parts = sorted(each for each in self.fingerprint.items() if each[0] not in SOFT)
        return self.root / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]

    def _name_other(self) -> None:
        """Log where the newest checkpoint of another training is."""
        others = self.root.glob("*/update-*/state.json")
        for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True):
            if state := _read_state(path.parent):
                parts = ", ".join(part for part in self._compare(state) if part not in SOFT)
                _log.warning(
                    f"{path.parent}: of a training with other {parts}; training starts anew, and the old checkpoints "
                    f"are kept; undo the change to resume from them, or remove {path.parents[1]}",
                )
                return

    def _list(self, *kinds: str) -> list[Path]:
        return sorted(path for kind in kinds for path in self.folder.glob(f"{kind}-*"))

    def _compare(self, state: Mapping[str, Any]) -> list[str]:
        """Return the parts of the fingerprint that differ."""
        saved = state["fingerprint"]
        return [part for part in self.fingerprint if saved.get(part) != self.fingerprint[part]]

    def _save(self, name: str, trained: Trained, optimizer: torch.optim.Optimizer | None, history: History) -> str:
        tensors = {}
        for key, tensor in _read(trained, optimizer):  # of sharded devices, all take part
            if self.devices.is_main:
                tensors[key] = tensor.cpu().contiguous()
        path = f"{self.folder.name}/{name}"
        if not self.devices.is_main:
            return path
        tensors["history.losses"] = torch.tensor(history.losses, dtype=torch.float64)
        with publish(self.folder / NEW, sum(tensor.nbytes for tensor in tensors.values())) as folder:
            folder.mkdir()
            digests.save(tensors, folder / TENSORS)
            state = {
                "schema": SCHEMA,
                "fingerprint": dict(self.fingerprint),
                "step": history.num_steps,
                "history": {key: value for key, value in asdict(history).items() if key != "losses"},
            }
            (folder / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        remove(self.folder / name)  # a damaged one
        (self.folder / NEW).replace(self.folder / name)
        return path


def _name_best(history: History) -> str:
    return f"best-{history.best_step or 0:08}"


def _read_state(folder: Path) -> dict[str, Any] | None:
    """Return the state of a checkpoint; None if the checkpoint is damaged.

    Raises:
        StaleError: it can't be read now, which is no damage: the next checkpoint would replace it.
    """
    try:
        state: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        digests.check(folder / TENSORS)
        return state if state["schema"] == SCHEMA else None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, ModelError):
        return None
    except OSError as error:
        raise StaleError(f"{folder}: can't be read: {error.strerror}; run the command again, or remove it") from error


def _load(folder: Path, state: Mapping[str, Any], trained: Trained, optimizer: torch.optim.Optimizer | None) -> History:
    tensors = load_file(folder / TENSORS)
    losses = tensors.pop("history.losses").tolist()
    _write(trained, optimizer, tensors)
    return History(losses=losses, **state["history"])


def _read(trained: Trained, optimizer: torch.optim.Optimizer | None) -> Iterator[tuple[str, Tensor]]:
    """Yield what trains and its moments, whole."""
    for name, parameter in trained.items():
        yield f"weights.{name}", _gather(parameter.detach())
        for key, value in (optimizer.state.get(parameter, {}) if optimizer else {}).items():
            yield f"optimizer.{key}.{name}", _gather(value)


def _gather(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


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


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """Copy a tensor, which is mapped from the file, to where a parameter is."""
    value = value.to(parameter.device, copy=True)
    if isinstance(parameter, DTensor):
        return distribute_tensor(value, parameter.device_mesh, parameter.placements)
    return value
