"""A training that is stopped and resumed gives the samples, the losses and the weights of one that is not."""

import multiprocessing
from typing import Any

import pytest

from openmedq.errors import StaleError
from openmedq.training.optimizer import find_part
from openmedq.training.trainer import Trainer

from .bench import NUM_UPDATES, Bench, at_update, bench, flip, in_validation, undisturbed

__all__ = ["bench", "undisturbed"]

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")


@pytest.mark.parametrize(
    "stops",
    [[at_update(1), at_update(5), at_update(NUM_UPDATES - 1)], [in_validation(3)], [in_validation(NUM_UPDATES)]],
    ids=["again and again", "validation", "final validation"],
)
def test_a_resumed_training_is_the_undisturbed_one(stops: Any, bench: Bench, undisturbed: Any) -> None:
    for stop in stops:
        bench.stop(stop)
    assert bench.train() == undisturbed()
    assert len(bench.rows) == NUM_UPDATES
    assert len(bench.record.read("lr")) < NUM_UPDATES, "it did not start anew"


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more processes than cores
def test_the_number_of_loader_processes_may_change(bench: Bench, undisturbed: Any) -> None:
    bench.stop(at_update(3), num_workers=2)
    bench.stop(at_update(6))
    assert bench.train(num_workers=4) == undisturbed()
    assert not multiprocessing.active_children(), "they end with the training"


def test_the_micro_batch_may_change(bench: Bench, undisturbed: Any) -> None:
    changes = {"lora": {"dropout": 0}}
    bench.stop(at_update(5), **changes)
    resumed = bench.train(**changes | {"micro_batch_size": 4})
    assert resumed.losses == pytest.approx(undisturbed(**changes).losses, rel=1e-5)
    assert len(bench.record.read("lr")) == NUM_UPDATES - 5


@pytest.mark.parametrize(("align_steps", "stop"), [(3, 2), (3, 3)])
def test_the_alignment_is_resumed_on_either_side_of_its_end(
    align_steps: int, stop: int, bench: Bench, undisturbed: Any
) -> None:
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


def test_weights_that_are_best_no_more_after_a_stop_replace_no_others(bench: Bench, undisturbed: Any) -> None:
    """They were written after the last checkpoint, and the validation that is repeated differs, as by rounding."""
    changes = {"lr": 0.1, "warmup": 1.0, "validate_every": 1, "select": "best"}

    def change(trainer: Trainer) -> None:
        at_update(6)(trainer)
        average = trainer._average
        trainer._average = lambda sums: 0.0 if trainer.history.num_steps == 6 else average(sums)

    bench.stop(change, **changes)
    assert bench.train(**changes) == undisturbed(**changes)


def test_damaged_best_weights_are_an_error_and_the_last_ones_can_be_kept(bench: Bench, undisturbed: Any) -> None:
    changes = {"lr": 0.1, "warmup": 1.0, "validate_every": 1, "select": "best"}
    bench.stop(at_update(NUM_UPDATES - 1), **changes)
    for folder in bench.folder.glob("best-*"):
        flip(folder / "state.safetensors")
    with pytest.raises(StaleError, match=r"checkpoints/\w+/best-\d+: .* damaged; set train.select: last"):
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
