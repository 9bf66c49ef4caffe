"""Questions of the demo have the wording of the prompt's table."""

import io

import PIL.Image
import pytest

from openmedq.demo.asking import compose, reword
from openmedq.model.prompt import request
from openmedq.schema import Task


def _png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (width, height), (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("question", "options", "words"),
    [
        ("Is it large?", (), "Question: Is it large?"),
        ("Which?", ("left", "right"), "Question: Which?\nOptions:\nA. left\nB. right"),
        ("", (), "Describe the picture."),
    ],
)
def test_an_own_question_has_the_wording_of_the_table(question: str, options: tuple[str, ...], words: str) -> None:
    sample = reword(compose([_png(4, 4)]), question, options)
    assert request(sample.task, sample.turns[-1]) == words


def test_a_new_question_changes_nothing_else() -> None:
    sample = compose([_png(4, 4)])
    assert reword(sample, "", ()) == sample
    assert reword(reword(sample, "Which?", ("a", "b")), "Which?", ("a", "b")).task is Task.MULTIPLE_CHOICE
    assert reword(sample, "What?", ()).images == sample.images
