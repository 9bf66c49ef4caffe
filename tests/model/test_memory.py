"""The micro batch by measured memory. The measurement needs a GPU; its arithmetic and its batches do not."""

from collections.abc import Callable
from math import inf

import pytest
import torch

from openmedq.errors import ParamsError
from openmedq.model import model as models
from openmedq.model.prompt import IGNORED
from openmedq.training import memory
from openmedq.training.devices import Devices
from openmedq.training.learner import Learner

from . import tiny

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")


def line(fixed: float, each: float, limit: float = inf, tried: list[int] | None = None) -> Callable[[int], float]:
    def measure(num_samples: int) -> float:
        if tried is not None:
            tried.append(num_samples)
        return fixed + each * num_samples if fixed + each * num_samples <= limit else inf

    return measure


def fit(measure: Callable[[int], float], free: float, most: int = 1000, others: float = inf) -> int:
    return memory.fit(measure, free, most, lambda number: min(number, others))


def test_the_largest_batch_on_the_line_is_taken_and_tried() -> None:
    tried: list[int] = []
    assert fit(line(30, 10, tried=tried), 100) == 7
    assert tried == [1, 2, 7]
    assert fit(line(30, 10), 99) == 6


def test_the_smallest_of_the_devices_and_the_batch_are_limits() -> None:
    assert fit(line(0, 1), 100, most=32) == 32
    assert fit(line(0, 1), 100, others=5) == 5


def test_a_batch_that_does_not_keep_to_the_line_is_made_smaller() -> None:
    assert fit(lambda num: num + num**2 / 10, 20) == 9  # 15 on the line, then 13, 11 and 9: 17.1 bytes


def test_memory_for_one_sample_or_none() -> None:
    assert fit(line(0, 60), 100) == 1
    assert fit(line(0, 60, limit=100), 100) == 1, "two run out of memory"
    assert fit(line(0, 160), 100) == 0
    assert fit(line(0, 160, limit=100), 100) == 0


def test_auto_without_a_gpu_is_an_error() -> None:
    cpu = Devices(torch.device("cpu"))
    memory.check_micro_batch(tiny.make_settings(micro_batch_size=2), cpu)
    with pytest.raises(ParamsError, match=r"^train.micro_batch_size: auto measures the memory of a GPU"):
        memory.check_micro_batch(tiny.make_settings(micro_batch_size="auto"), cpu)


def test_the_measured_batches_fill_every_row() -> None:
    settings = tiny.make_settings(contrastive_weight=0.5)
    model, _ = models.build(settings, tiny.texts())
    learner = Learner(model, settings)
    assert memory._count_images(settings) == 96 // tiny.NUM_PATCHES == 6
    for num_images in (0, 2, 6):
        batch = memory._make(learner, settings, num_images)(3)
        assert batch.ids.shape == (3, 96) and len(batch.pixels) == 3 * num_images
        assert (batch.labels == IGNORED).sum() == 3 * num_images * tiny.NUM_PATCHES
        assert torch.isfinite(learner(batch).next_token)
