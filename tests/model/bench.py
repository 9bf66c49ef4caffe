"""Trainings of one start that are stopped and resumed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from openmedq.model import model as models
from openmedq.training.checkpoint import Checkpoints
from openmedq.training.devices import Devices
from openmedq.training.trainer import Trainer
from tests.recorded import Recorded

from . import tiny

FINGERPRINT = {"data": "1", "settings": "1", "weights": "1", "code": "1", "versions": "1", "devices": "1"}
NUM_UPDATES = 8  # of 4 of the 6 samples each: epochs end within updates
SETTINGS = {
    "num_epochs": 9,
    "max_steps": NUM_UPDATES,
    "micro_batch_size": 1,
    "blank_share": 0.3,
    "lora": {"dropout": 0.1},
    "validate_every": 3,
    "validate_rows": 2,
    "checkpoint_minutes": 1e-9,  # after each update
}


class StopError(Exception):
    """What ends a training."""


@dataclass
class Result:
    weights: dict[str, Tensor]
    losses: list[float]
    validation_losses: dict[str, float]
    rows: dict[int, list[int]] = field(repr=False)  # by update

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Result)
        assert self.rows == other.rows
        assert self.losses == other.losses
        assert self.validation_losses == other.validation_losses
        return all(weight.equal(other.weights[name]) for name, weight in self.weights.items())


class Bench:
    """Trainings of one project, each with a new learner of the same start."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, Checkpoints(FINGERPRINT, Devices(torch.device("cpu")), root).folder
        self.rows: dict[int, list[int]] = {}

    def train(
        self,
        change: Callable[[Trainer], None] | None = None,
        fingerprint: Mapping[str, str] = FINGERPRINT,
        num_workers: int = 0,
        **changes: Any,
    ) -> Result:
        torch.manual_seed(0)
        model, processor = models.build(tiny.make_settings(**SETTINGS | changes), tiny.texts())
        self.record = Recorded()
        trainer = tiny.make_trainer(model, processor, self.folder, self.record, **SETTINGS | changes)
        trainer.checkpoints = Checkpoints(fingerprint, trainer.devices, self.root)
        trainer.num_workers = num_workers
        update = trainer._update

        def spy(number: int, epoch: int, micros: Any) -> Any:
            self.rows[number] = sorted(int(row) for micro in micros for row in micro.rows)
            return update(number, epoch, micros)

        trainer._update = spy
        if change is not None:
            change(trainer)
        history = trainer.train()
        weights = {name: weight.detach().clone() for name, weight in trainer.learner.state_dict().items()}
        return Result(weights, history.losses, history.validation_losses, self.rows)

    def stop(self, change: Callable[[Trainer], None], **options: Any) -> None:
        with pytest.raises(StopError):
            self.train(change, **options)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


def at_update(stop: int) -> Callable[[Trainer], None]:
    def change(trainer: Trainer) -> None:
        update = trainer._update

        def stopping(number: int, epoch: int, micros: Any) -> Any:
            if number == stop:
                raise StopError
            return update(number, epoch, micros)

        trainer._update = stopping

    return change


def in_validation(step: int) -> Callable[[Trainer], None]:
    def change(trainer: Trainer) -> None:
        validate = trainer._validate

        def stopping(rows: Any) -> Any:
            if trainer.history.num_steps >= step - 1:  # an update may be pending
                raise StopError
            return validate(rows)

        trainer._validate = stopping

    return change


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.chdir(tmp_path)
    return Bench(Path("data/checkpoints"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """The result of a training that is not stopped, for some changed settings."""
    known: dict[str, Result] = {}

    def train(**changes: Any) -> Result:
        if str(changes) not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path_factory.mktemp("undisturbed"))
                known[str(changes)] = Bench(Path("data/checkpoints")).train(**changes)
        return known[str(changes)]

    return train


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
