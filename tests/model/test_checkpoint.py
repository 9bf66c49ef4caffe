"""A training that is stopped and resumed gives the samples, the losses and the weights of one that is not."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor

from openmedq.errors import DiskFullError, ModelError, StaleError
from openmedq.model import model as models
from openmedq.training import checkpoint
from openmedq.training.checkpoint import Checkpoints
from openmedq.training.learner import Learner
from openmedq.training.optimizer import find_part
from openmedq.training.trainer import Trainer

from . import tiny
from .test_training import Record

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")

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

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
        self.record = Record()
        trainer = tiny.make_trainer(model, processor, self.folder, self.record, **SETTINGS | changes)
        trainer.checkpoints = Checkpoints(fingerprint, trainer.devices, self.folder)
        trainer.num_workers = num_workers
        update = trainer._update

        def spy(number: int, epoch: int, micros: Any) -> Any:
            self.rows[number] = sorted(int(row) for micro in micros for row in micro.rows)
            return update(number, epoch, micros)

        trainer._update = spy  # type: ignore[method-assign]
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
    """Stop before an update."""

    def change(trainer: Trainer) -> None:
        update = trainer._update

        def stopping(number: int, epoch: int, micros: Any) -> Any:
            if number == stop:
                raise StopError
            return update(number, epoch, micros)

        trainer._update = stopping  # type: ignore[method-assign]

    return change


def in_accumulation(stop: int) -> Callable[[Trainer], None]:
    """Stop before the backward pass of a micro batch."""

    def change(trainer: Trainer) -> None:
        count = [0]

        def forward(self: Learner, *arguments: Any) -> Any:
            count[0] += self.training
            if count[0] == stop:
                raise StopError
            return Learner.forward(self, *arguments)

        trainer.learner.forward = forward.__get__(trainer.learner)

    return change


def in_validation(step: int) -> Callable[[Trainer], None]:
    def change(trainer: Trainer) -> None:
        validate = trainer._validate

        def stopping(rows: Any) -> Any:
            if trainer.history.num_steps >= step - 1:  # an update may be pending
                raise StopError
            return validate(rows)

        trainer._validate = stopping  # type: ignore[method-assign]

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


@pytest.mark.parametrize(
    "stops",
    [
        [at_update(1)],
        [at_update(4), at_update(5), at_update(NUM_UPDATES - 1)],
        [in_accumulation(6)],
        [in_accumulation(11), in_accumulation(3)],
        [in_validation(3)],
        [in_validation(NUM_UPDATES)],
    ],
    ids=["first", "again and again", "accumulation", "accumulations", "validation", "final validation"],
)
def test_a_resumed_training_is_the_undisturbed_one(stops: Any, bench: Bench, undisturbed: Any) -> None:
    for stop in stops:
        bench.stop(stop)
    assert bench.train() == undisturbed()
    assert len(bench.rows) == NUM_UPDATES
    assert len(bench.record.read("lr")) < NUM_UPDATES, "it did not start anew"


@pytest.mark.parametrize("where", ["save_file", "hash_file"])
def test_a_stop_while_a_checkpoint_is_written(
    where: str, bench: Bench, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, count = getattr(checkpoint, where), [0]

    def stopping(*arguments: Any) -> Any:
        found = original(*arguments)
        count[0] += 1
        if count[0] == 5:
            raise StopError
        return found

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, where, stopping)
        bench.stop(lambda trainer: None)
    assert bench.names() == ["best", "update-00000002", "update-00000003"]
    assert bench.train() == undisturbed()


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more processes than cores
def test_the_number_of_loader_processes_may_change(bench: Bench, undisturbed: Any) -> None:
    bench.stop(at_update(3), num_workers=2)
    bench.stop(at_update(6))
    assert bench.train(num_workers=4) == undisturbed()
    assert not multiprocessing.active_children(), "they end with the training"


@pytest.mark.parametrize("align_steps", [3, 6])
@pytest.mark.parametrize("stop", [2, 3, 4])
def test_the_alignment_is_resumed_on_either_side_of_its_end(
    align_steps: int, stop: int, bench: Bench, undisturbed: Any
) -> None:
    if align_steps == 6 and stop != 4:
        pytest.skip("one stop within the alignment is enough")
    bench.stop(at_update(stop), align_steps=align_steps)
    expected = undisturbed(align_steps=align_steps)
    assert bench.train(align_steps=align_steps) == expected
    plain = undisturbed()
    assert any(
        not weight.equal(plain.weights[name])
        for name, weight in expected.weights.items()
        if find_part(name) == "adapters"
    )


def test_the_best_weights_are_kept_over_a_stop(bench: Bench, undisturbed: Any) -> None:
    changes = {"lr": 0.1, "warmup": 1.0, "validate_every": 1, "select": "best"}
    expected = undisturbed(**changes)
    best = min(expected.validation_losses, key=lambda step: expected.validation_losses[step])
    assert int(best) < NUM_UPDATES - 1, "otherwise this shows nothing"
    bench.stop(at_update(NUM_UPDATES - 1), **changes)
    assert bench.train(**changes) == expected
    last = undisturbed(**changes | {"select": "last"})
    assert last.losses == expected.losses and last != expected


def test_damaged_best_weights_are_an_error_and_the_last_ones_can_be_kept(bench: Bench, undisturbed: Any) -> None:
    changes = {"lr": 0.1, "warmup": 1.0, "validate_every": 1, "select": "best"}
    bench.stop(at_update(NUM_UPDATES - 1), **changes)
    flip(bench.folder / "best/state.safetensors")
    with pytest.raises(StaleError, match=r"checkpoints/best: damaged, or not .* set train.select: last"):
        bench.train(**changes)
    assert bench.train(**changes | {"select": "last"}) == undisturbed(**changes | {"select": "last"})


def test_patience_counts_over_a_stop(bench: Bench, undisturbed: Any) -> None:
    changes = {"lr": 0.1, "warmup": 1.0, "validate_every": 1, "patience": 2}
    expected = undisturbed(**changes)
    num_updates = len(expected.losses)
    assert 3 < num_updates < NUM_UPDATES
    bench.stop(at_update(num_updates - 1), **changes)
    bench.stop(in_validation(num_updates), **changes)
    assert bench.train(**changes) == expected


def test_the_final_validation_is_of_all_rows_and_chooses_no_weights(bench: Bench, undisturbed: Any) -> None:
    trainers: list[Trainer] = []
    bench.train(trainers.append)
    (trainer,) = trainers
    history = trainer.history
    assert set(history.validation_losses) == {"3", "6", "8"}
    shown = trainer.dataset[tiny_piece(trainer.held_out)]
    sums = trainer._validate(shown)
    assert history.validation_loss == pytest.approx((sums[0] / sums[1]).item(), rel=1e-6)
    assert history.validation_loss != history.validation_losses["8"], "that is of two of the three rows"


def tiny_piece(rows: Any) -> Any:
    from openmedq.training.data import Piece

    return Piece(rows, np.full(len(rows), np.nan, np.float32))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["state.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_not_used(
    file: str, bench: Bench, undisturbed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench.stop(at_update(5))
    assert bench.names() == ["best", "update-00000004", "update-00000005"]
    (bench.folder / "update-00000005" / file).write_bytes(b"{")
    caplog.set_level(logging.INFO)
    assert bench.train() == undisturbed()
    newest = bench.folder / "update-00000005"
    older = bench.folder / "update-00000004"
    assert caplog.messages == [
        f"{newest}: the checkpoint is damaged; the one before is used",
        f"{older}: resuming after update 4",
    ]


def test_one_flipped_bit_is_damage_and_without_another_checkpoint_training_starts_anew(
    bench: Bench, undisturbed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench.stop(at_update(5))
    for name in bench.names():
        flip(bench.folder / name / "state.safetensors")
    assert bench.train() == undisturbed()
    (line,) = caplog.messages
    assert line.endswith(
        "update-00000005: the checkpoint is damaged; training starts anew, and its first checkpoint "
        "replaces the old ones"
    )
    assert len(bench.record.read("lr")) == NUM_UPDATES


@pytest.mark.parametrize("part", ["data", "settings", "weights"])
def test_another_training_names_what_differs_and_replaces_the_checkpoints(
    part: str, bench: Bench, undisturbed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench.stop(at_update(5))
    bench.stop(at_update(2), fingerprint={**FINGERPRINT, part: "2"})
    (line,) = caplog.messages
    assert line == (
        f"{bench.folder}/update-00000005: of a training with other {part}; training starts anew, and its first "
        "checkpoint replaces the old ones"
    )
    assert bench.names()[-2:] == ["update-00000001", "update-00000002"], "of a lower number than those of the other"
    caplog.clear()
    assert bench.train(fingerprint={**FINGERPRINT, part: "2"}) == undisturbed()
    assert not caplog.messages and len(bench.record.read("lr")) == NUM_UPDATES - 2


@pytest.mark.parametrize("part", ["code", "versions", "devices"])
def test_what_changes_sums_only_is_a_warning(
    part: str, bench: Bench, undisturbed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench.stop(at_update(5))
    assert bench.train(fingerprint={**FINGERPRINT, part: "2"}) == undisturbed()
    folder = bench.folder / "update-00000005"
    assert caplog.messages == [f"{folder}: saved with other {part}; results can differ by rounding or more"]


def test_nothing_grows(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def watch(trainer: Trainer) -> None:
        pause = trainer._pause

        def look(preemption: Any) -> None:
            pause(preemption)
            if trainer.history.num_steps > 3:
                seen.append(bench.names())

        trainer._pause = look  # type: ignore[method-assign]

    bench.train(watch, max_steps=20, num_epochs=20)
    assert len(seen) > 10 and {len(names) for names in seen} == {3} and all(names[0] == "best" for names in seen)
    partial = {path.name for path in Path("data/.partial").iterdir()}
    assert partial == {"data-checkpoints-new.lock", "data-checkpoints-best.lock"}


def test_clearing_removes_checkpoints_and_nothing_else(bench: Bench) -> None:
    trainers: list[Trainer] = []
    bench.train(trainers.append)
    (bench.folder / "notes.txt").write_text("of a user")
    trainers[0].checkpoints.clear()
    assert bench.names() == ["notes.txt"]
    (bench.folder / "notes.txt").unlink()
    trainers[0].checkpoints.clear()
    assert not bench.folder.exists()
    trainers[0].checkpoints.clear()


def test_a_full_disk_leaves_the_checkpoint_before(
    bench: Bench, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.stop(at_update(3), validate_every=None)
    before, save_file = bench.names(), checkpoint.save_file

    def write_half(tensors: Any, path: Path) -> None:
        save_file(tensors, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch, pytest.raises(DiskFullError) as raised:
        patch.setattr(checkpoint, "save_file", write_half)
        bench.train(validate_every=None)
    assert str(raised.value).startswith(f"{bench.folder}/new: no space left on the disk of data (")
    assert bench.names() == before
    assert bench.train(validate_every=None) == undisturbed(validate_every=None)


def test_no_checkpoint_has_a_weight_that_is_not_finite(bench: Bench) -> None:
    def spoil(trainer: Trainer) -> None:
        update = trainer._update

        def spoiling(number: int, epoch: int, micros: Any) -> Any:
            found = update(number, epoch, micros)
            if number == 4:
                next(iter(trainer.trained.values())).data[0] = float("nan")
            return found

        trainer._update = spoiling  # type: ignore[method-assign]

    with pytest.raises(ModelError, match=r"^update 5: a weight of \S+ is nan; lower train.lr"):
        bench.train(spoil)
    assert bench.names()[-1] == "update-00000004"
