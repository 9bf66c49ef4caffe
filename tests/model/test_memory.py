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


@pytest.mark.parametrize(
    ("cost", "free_bytes", "most", "others", "expected"),
    [
        (lambda num: 30 + 10 * num, 100, 1000, inf, 7),
        (lambda num: 30 + 10 * num, 99, 1000, inf, 6),
        (lambda num: num, 100, 32, inf, 32),
        (lambda num: num, 100, 1000, 5, 5),  # as the smallest of the devices
        (lambda num: num + num**2 / 10, 20, 1000, inf, 9),  # 15 on the line, then 13, 11 and 9: 17.1 bytes
        (lambda num: 60 * num, 100, 1000, inf, 1),
        (lambda num: 60 if num == 1 else inf, 100, 1000, inf, 1),  # two run out of memory
        (lambda num: 160 * num, 100, 1000, inf, 0),
        (lambda num: inf, 100, 1000, inf, 0),
    ],
)
def test_the_largest_batch_that_fits_is_taken_and_tried(
    cost: Callable[[int], float], free_bytes: float, most: int, others: float, expected: int
) -> None:
    tried: list[int] = []

    def measure(num_samples: int) -> float:
        tried.append(num_samples)
        return cost(num_samples)

    assert memory.fit(measure, free_bytes, most, lambda number: min(number, others)) == expected
    assert expected < 3 or tried[-1] == expected


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
