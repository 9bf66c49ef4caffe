"""Questions of the demo have the wording of the prompt's table."""

import PIL.Image

from openmedq.demo.asking import compose, reword
from openmedq.schema import Task
from tests.storage.drawing import save


def _png(width: int, height: int) -> bytes:
    return save(PIL.Image.new("RGB", (width, height), (200, 30, 30)), "PNG")


def test_a_new_question_changes_nothing_else() -> None:
    sample = compose([_png(4, 4)])
    assert reword(sample, "", ()) == sample
    assert reword(reword(sample, "Which?", ("a", "b")), "Which?", ("a", "b")).task is Task.MULTIPLE_CHOICE
    assert reword(sample, "What?", ()).images == sample.images
