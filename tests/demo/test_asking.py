"""Questions of the demo have the wording of the prompt's table."""

import io

import numpy as np
import PIL.Image

from openmedq.demo.asking import blacken, compose, reword
from openmedq.schema import Task
from tests.storage.drawing import save


def _png(width: int, height: int) -> bytes:
    return save(PIL.Image.new("RGB", (width, height), (200, 30, 30)), "PNG")


def test_a_new_question_changes_nothing_else() -> None:
    sample = compose([_png(4, 4)])
    assert reword(sample, "", ()) == sample
    assert reword(reword(sample, "Which?", ("a", "b")), "Which?", ("a", "b")).task is Task.MULTIPLE_CHOICE
    assert reword(sample, "What?", ()).images == sample.images


def test_black_images_have_the_size_of_the_others() -> None:
    sample = blacken(compose([_png(5, 3), _png(2, 7)]))
    pixels = [np.asarray(PIL.Image.open(io.BytesIO(image.data or b""))) for image in sample.images]
    assert [array.shape for array in pixels] == [(3, 5), (7, 2)]
    assert not any(array.any() for array in pixels)
