"""The updates: decay, clipping, parts and phases, what an update's loss depends on, and validations."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from openmedq.storage.progress import NoLog
from openmedq.training import optimizer
from openmedq.training.learner import Learner
from openmedq.training.optimizer import scale

from . import tiny

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")

ADAM_EPSILON = 1e-8  # of torch.optim.AdamW


class Record(NoLog):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.steps: list[tuple[int | None, dict[str, float]]] = []
        self.checkpoints: list[str] = []

    def __call__(self, metrics: Any, step: int | None) -> None:
        self.steps.append((step, dict(metrics)))

    def checkpoint(self, name: str, step: int, metrics: Any) -> None:
        self.checkpoints.append(name)

    def read(self, name: str) -> list[float]:
        return [metrics[name] for _, metrics in self.steps if name in metrics]


class Bed:
    """One training after another of the same start, each in a folder of its own."""

    def __init__(self, model: torch.nn.Module, processor: Any, folder: Path) -> None:
        self.model, self._processor, self._folder = model, processor, folder
        self.record = Record()

    def train(self, **changes: Any) -> dict[str, Tensor]:
        """Return the change of each trained weight."""
        before = _copy(self.model)
        changes = {"batch_size": 6, "micro_batch_size": 6, **changes}
        self.record = Record()
        self.trainer = tiny.make_trainer(self.model, self._processor, self._folder, self.record, **changes)
        self.history = self.trainer.train()
        return {name: weight - before[name] for name, weight in _copy(self.model).items()}

    def restore(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                if name in weights:
                    weight.copy_(weights[name])
        self.trainer.checkpoints.clear()


def _copy(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.fixture
def bed(model: torch.nn.Module, processor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    monkeypatch.chdir(tmp_path)
    return Bed(model, processor, tmp_path / "checkpoints")


def test_matrices_decay_and_vectors_do_not(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Learner.forward

    def multiply_by_zero(*arguments: Any, **options: Any) -> Any:
        """A loss with zero gradient: only the decay changes the weights."""
        found = forward(*arguments, **options)
        return found._replace(next_token=found.next_token * 0)

    monkeypatch.setattr(Learner, "forward", multiply_by_zero)
    tiny.shake(bed.model)
    before = _copy(bed.model)
    moved = bed.train(weight_decay=0.3, weight_decay_of={"projector": 0.0}, max_steps=4, num_epochs=4)
    kept = math.prod(1 - 0.3 * rate for rate in bed.record.read("lr"))
    assert {weight.ndim for weight in moved.values()} >= {1, 2}
    for name, weight in moved.items():
        decays = weight.ndim > 1 and "multi_modal_projector" not in name
        torch.testing.assert_close(weight, before[name] * (kept - 1 if decays else 0), msg=name)


def test_the_norm_of_the_gradient_is_clipped(bed: Bed) -> None:
    # If the gradient is far below Adam's epsilon, the first update is lr * gradient / epsilon.
    moved = bed.train(max_grad_norm=1e-10, weight_decay=0, lr=1, warmup=0, max_steps=1)
    assert bed.record.read("lr") == [1]
    norm = torch.cat([weight.flatten() for weight in moved.values()]).norm().item()
    assert norm == pytest.approx(1e-10 / ADAM_EPSILON, rel=0.02)


def test_each_part_has_its_learning_rate(bed: Bed) -> None:
    """Adam's first update moves each weight by its learning rate, whatever the gradient."""
    rates = {"encoder": 1e-3, "projector": 2e-3, "adapters": 3e-3, "embeddings": 4e-3}
    moved = bed.train(lr_of=rates, weight_decay=0, warmup=0, max_steps=1)
    for part, rate in rates.items():
        of_part = [weight.abs().max().item() for name, weight in moved.items() if optimizer.find_part(name) == part]
        assert max(of_part) == pytest.approx(rate, rel=0.01), part


def test_the_alignment_trains_the_projector_alone(bed: Bed) -> None:
    changed: list[set[str]] = []
    before = _copy(bed.model)

    class Watch(Record):
        def __call__(self, metrics: Any, step: int | None) -> None:
            now = _copy_all(bed.model)
            changed.append({name for name, weight in before.items() if not now[name].equal(weight)})
            super().__call__(metrics, step)

    trainer = tiny.make_trainer(
        bed.model, bed._processor, bed._folder, Watch(), batch_size=6, num_epochs=6, align_steps=3, warmup=0
    )
    trainer.train()
    # An update is logged when the next one has run: after update 4, update 3 is logged.
    assert {optimizer.find_part(name) for name in changed[1]} == {"projector"}
    assert {optimizer.find_part(name) for name in changed[-1]} == {"projector", "encoder", "adapters", "embeddings"}
    rates = trainer.log.read("lr")  # type: ignore[attr-defined]
    assert rates == [1e-2 * scale(update, 0, 3) for update in (0, 1, 2, 0, 1, 2)]


def _copy_all(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def test_the_loss_depends_on_no_division_and_no_order(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    start = _copy(bed.model)
    bed.train(max_steps=2, num_epochs=2)
    whole = bed.history.losses
    for micro_batch_size in (1, 2):
        bed.restore(start)
        bed.train(max_steps=2, num_epochs=2, micro_batch_size=micro_batch_size)
        assert bed.history.losses == pytest.approx(whole, rel=1e-5)
    bed.restore(start)
    monkeypatch.setattr("openmedq.training.data.PASS_TOKENS", 10**6)
    bed.train(max_steps=2, num_epochs=2)
    assert bed.history.losses == pytest.approx(whole, rel=1e-5)
    assert max(bed.record.read("padding")) > 0.2
    bed.restore(start)
    monkeypatch.setattr("openmedq.training.trainer.divide", _divide_reversed)
    bed.train(max_steps=2, num_epochs=2)
    assert bed.history.losses == pytest.approx(whole, rel=1e-5)


def _divide_reversed(rows: Any, max_tokens: int, pad_id: int, at_least: int = 1) -> Any:
    from openmedq.training.data import divide

    return [micro for row in reversed(rows) for micro in divide([row], max_tokens, pad_id)]


def test_what_is_logged_of_an_update(bed: Bed) -> None:
    bed.train(max_steps=20, num_epochs=20)
    steps = [(step, metrics) for step, metrics in bed.record.steps if "lr" in metrics]
    assert [step for step, _ in steps] == list(range(1, 21))
    last = steps[-1][1]
    speed = {"samples_per_second", "tokens_per_second", "data_wait_s", "memory_gb"}
    assert set(last) == {"loss", "lr", "grad_norm", "epoch", "padding", *speed, "loss_of/even", "loss_of/odd"}
    assert 0 <= last["padding"] < 0.2
    tokens = [0, 0]
    for number in range(len(tiny.SAMPLES)):
        tokens[number % 2] += int((bed.trainer.dataset._read(number).labels[1:] >= 0).sum())
    mean = (tokens[0] * last["loss_of/even"] + tokens[1] * last["loss_of/odd"]) / sum(tokens)
    assert mean == pytest.approx(np.mean(bed.history.losses), rel=1e-4)


def test_training_stops_when_validation_does_not_improve(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([3.0, 2.0, 2.5, 2.1, 9.0, 9.0])

    def fake(self: Any, sums: Tensor) -> None:
        self.history.validation_losses[str(self.history.num_steps)] = next(values)

    monkeypatch.setattr("openmedq.training.trainer.Trainer._end_validation", fake)
    bed.train(max_steps=10, num_epochs=10, validate_every=1, patience=2)
    assert bed.history.num_steps == 4
    assert bed.history.best_step == 2
