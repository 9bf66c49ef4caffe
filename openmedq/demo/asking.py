"""Convert a user's question to a sample, so that the prompt is that of the evaluation."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import PIL.Image

from openmedq.schema import Image, Provenance, Sample, Task, Turn

OWN = "own"  # takes the place of the source's name


def compose(images: Sequence[bytes]) -> Sample:
    """Return a sample of encoded images without a question."""
    return Sample(
        id=f"{OWN}/question",
        source=OWN,
        split=OWN,
        task=Task.VQA,
        modality="mixed",
        licence="",
        provenance=Provenance(OWN, ""),
        turns=(Turn("", ""),),
        images=tuple(Image(str(number), data=data) for number, data in enumerate(images)),
    )


def reword(sample: Sample, question: str, options: Sequence[str]) -> Sample:
    """Replace the last question; an own sample with options becomes multiple choice."""
    *earlier, last = sample.turns
    turns = (*earlier, replace(last, question=question, options=tuple(options)))
    is_choice = sample.source == OWN and bool(options)
    return replace(sample, turns=turns, task=Task.MULTIPLE_CHOICE if is_choice else sample.task)


def blacken(sample: Sample) -> Sample:
    """Replace the images by black ones of the same size: such an answer does not depend on the image."""
    return replace(sample, images=tuple(replace(image, path=None, data=_black(image)) for image in sample.images))


def _black(image: Image) -> bytes:
    assert image.data is not None, f"{image.image_id}: read without its images"
    with PIL.Image.open(io.BytesIO(image.data)) as opened:
        size = opened.size
    buffer = io.BytesIO()
    PIL.Image.new("L", size).save(buffer, "PNG")
    return buffer.getvalue()
