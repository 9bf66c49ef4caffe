import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from openmedq.model import model as models
from openmedq.training import optimizer
from openmedq.training.data import PASS_PARAMETERS, divide
from openmedq.training.learner import Learner
from openmedq.training.optimizer import scale
from tests.recorded import Recorded

from . import tiny

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")

ADAM_EPSILON = 1e-8  # of torch.optim.AdamW


def copy(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


class Bed:
    """Trainings of one start, each with a folder of checkpoints of its own."""

    def __init__(self, processor: Any, folder: Path) -> None:
        self._processor, self._folders = processor, (folder / str(number) for number in itertools.count())

    def train(self, log: Recorded | None = None, *, is_shaken: bool = False, **changes: Any) -> dict[str, Tensor]:
        torch.manual_seed(0)
        self.model = models.build(tiny.make_settings(), tiny.texts())[0]
        if is_shaken:
            tiny.shake(self.model)
        self.start, self.record = copy(self.model), log or Recorded()
        changes = {"batch_size": 6, "micro_batch_size": 6, **changes}
        self.trainer = tiny.make_trainer(self.model, self._processor, next(self._folders), self.record, **changes)
        self.history = self.trainer.train()
        return {
            name: weight.detach() - self.start[name]
            for name, weight in self.model.named_parameters()
            if weight.requires_grad
        }


@pytest.fixture
def bed(processor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    monkeypatch.chdir(tmp_path)
    return Bed(processor, tmp_path / "checkpoints")


def test_the_rate_rises_linearly_and_falls_as_half_a_cosine_to_zero() -> None:
    scales = [scale(update, 4, 12) for update in range(13)]
    assert scales[:4] == [0.25, 0.5, 0.75, 1.0]
    assert scales[4:] == pytest.approx([(1 + math.cos(math.pi * eighth / 8)) / 2 for eighth in range(9)])


@pytest.mark.parametrize(("num_warmup", "expected"), [(0, [1, 0.75, 0.25]), (1, [1, 1, 0.5]), (3, [1 / 3, 2 / 3, 1])])
def test_the_rate_of_a_short_training(num_warmup: int, expected: list[float]) -> None:
    assert [scale(update, num_warmup, 3) for update in range(3)] == pytest.approx(expected)


def test_matrices_decay_and_vectors_do_not(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Learner.forward

    def multiply_by_zero(*arguments: Any, **options: Any) -> Any:
        """A loss with zero gradient: only the decay changes the weights."""
        found = forward(*arguments, **options)
        return found._replace(next_token=found.next_token * 0)

    monkeypatch.setattr(Learner, "forward", multiply_by_zero)
    decays = {"weight_decay": 0.3, "weight_decay_of": {"projector": 0.0}}
    moved = bed.train(is_shaken=True, max_steps=4, num_epochs=4, **decays)
    kept = math.prod(1 - 0.3 * rate for rate in bed.record.read("lr"))
    assert {weight.ndim for weight in moved.values()} >= {1, 2}
    for name, weight in moved.items():
        has_decay = weight.ndim > 1 and "multi_modal_projector" not in name
        torch.testing.assert_close(weight, bed.start[name] * (kept - 1 if has_decay else 0), msg=name)


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

    class Watch(Recorded):
        def __call__(self, metrics: Any, step: int | None) -> None:
            now = copy(bed.model)
            changed.append({name for name, weight in bed.start.items() if not now[name].equal(weight)})
            super().__call__(metrics, step)

    bed.train(Watch(), num_epochs=6, align_steps=3, warmup=0)
    # An update is logged when the next one has run: after update 4, update 3 is logged.
    assert {optimizer.find_part(name) for name in changed[1]} == {"projector"}
    assert {optimizer.find_part(name) for name in changed[-1]} == {"projector", "encoder", "adapters", "embeddings"}
    assert bed.record.read("lr") == [1e-2 * scale(update, 0, 3) for update in (0, 1, 2, 0, 1, 2)]


def test_the_loss_depends_on_no_division_and_no_order(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(**changes: Any) -> list[float]:
        bed.train(max_steps=2, num_epochs=2, **changes)
        return bed.history.losses

    def divide_reversed(rows: Any, max_tokens: int, pass_tokens: int, pad_id: int, at_least: int = 1) -> Any:
        return [micro for row in reversed(rows) for micro in divide([row], max_tokens, pass_tokens, pad_id)]

    expected = pytest.approx(train(), rel=1e-5)
    assert train(micro_batch_size=1) == expected
    assert train(micro_batch_size=2) == expected
    with monkeypatch.context() as patch:
        patch.setitem(PASS_PARAMETERS, "cpu", 0)
        assert train() == expected
        assert max(bed.record.read("padding")) == 0
    monkeypatch.setattr("openmedq.training.trainer.divide", divide_reversed)
    assert train() == expected


def test_what_is_logged_of_an_update(bed: Bed) -> None:
    bed.train(max_steps=20, num_epochs=20)
    steps = [(step, metrics) for step, metrics in bed.record.steps if "lr" in metrics]
    assert [step for step, _ in steps] == list(range(1, 21))
    last = steps[-1][1]
    speed = {"samples_per_second", "tokens_per_second", "data_wait_s", "memory_gb"}
    assert set(last) == {"loss", "lr", "grad_norm", "epoch", "padding", *speed, "loss_of/even", "loss_of/odd"}
    assert 0 < last["padding"] < 0.5  # all rows in one micro batch
    tokens = [0, 0]
    for number in range(len(tiny.SAMPLES)):
        tokens[number % 2] += int((bed.trainer.dataset._read(number).labels[1:] >= 0).sum())
    mean = (tokens[0] * last["loss_of/even"] + tokens[1] * last["loss_of/odd"]) / sum(tokens)
    assert mean == pytest.approx(np.mean(bed.history.losses), rel=1e-4)


def test_without_a_next_token_loss_there_is_no_loss_by_source(bed: Bed) -> None:
    bed.train(max_steps=1, contrastive_weight=1.0, next_token_weight=0.0)
    (metrics,) = (metrics for _, metrics in bed.record.steps if "lr" in metrics)
    assert not [name for name in metrics if name.startswith("loss_of/")]


@pytest.mark.parametrize("align_steps", [0, 5])  # the alignment neither stops nor has the best weights
def test_training_stops_when_validation_does_not_improve(
    align_steps: int, bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([3.0, 2.0, 2.5, 2.1, 9.0, 9.0])

    def fake(self: Any, sums: Tensor) -> None:
        self.history.validation_losses[str(self.history.num_steps)] = next(values)

    monkeypatch.setattr("openmedq.training.trainer.Trainer._end_validation", fake)
    bed.train(max_steps=10, num_epochs=10, validate_every=1, patience=2, align_steps=align_steps)
    assert bed.history.num_steps == align_steps + 4
    assert bed.history.best_step == align_steps + 2
