"""The micro batch by measured memory. The measurement needs a GPU; its arithmetic and its batches do not."""

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


@pytest.mark.parametrize(("most", "expected"), [(64, 16), (24, 24), (7, 7), (1, 1)])
def test_the_batch_is_doubled_while_it_fits(most: int, expected: int) -> None:
    assert memory.find_largest(most, lambda num: num <= 24) == expected
    assert memory.find_largest(most, lambda _: False) == 0


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
