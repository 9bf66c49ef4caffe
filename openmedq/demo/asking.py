"""What a person asks, as the sample that the model is asked by: the prompt is that of the evaluation."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import PIL.Image

from openmedq.schema import Image, Provenance, Sample, Task, Turn

OWN = "own"  # in the place of a source


def compose(pictures: Sequence[bytes]) -> Sample:
    """Nothing asked yet, on pictures of one's own as `io/images.py` encodes them."""
    return Sample(
        id=f"{OWN}/question",
        source=OWN,
        split=OWN,
        task=Task.VQA,
        modality="mixed",
        licence="",
        provenance=Provenance(OWN, ""),
        turns=(Turn("", ""),),
        images=tuple(Image(str(number), data=data) for number, data in enumerate(pictures)),
    )


def reword(sample: Sample, question: str, options: Sequence[str]) -> Sample:
    """The sample with another last question; one of one's own is a multiple choice where it has options."""
    *earlier, last = sample.turns
    turns = (*earlier, replace(last, question=question, options=tuple(options)))
    is_choice = sample.source == OWN and bool(options)
    return replace(sample, turns=turns, task=Task.MULTIPLE_CHOICE if is_choice else sample.task)


def blacken(sample: Sample) -> Sample:
    """The sample with black pictures of the same size: what is answered then was not seen."""
    return replace(sample, images=tuple(replace(image, path=None, data=_black(image)) for image in sample.images))


def _black(image: Image) -> bytes:
    assert image.data is not None, f"{image.image_id}: read without its pictures"
    with PIL.Image.open(io.BytesIO(image.data)) as picture:
        size = picture.size
    buffer = io.BytesIO()
    PIL.Image.new("L", size).save(buffer, "PNG")
    return buffer.getvalue()
