"""Convert a user's question to a sample, so that the prompt is that of the evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from openmedq.schema import Image, Provenance, Sample, Task, Turn

OWN = "own"  # takes the place of the source's name


def compose(images: Sequence[bytes]) -> Sample:
    """Return a sample of encoded images without a question."""
    shown = tuple(Image(str(number), data=data) for number, data in enumerate(images))
    return Sample(f"{OWN}/question", OWN, OWN, Task.VQA, "mixed", "", Provenance(OWN, ""), (Turn("", ""),), shown)


def reword(sample: Sample, question: str, options: Sequence[str]) -> Sample:
    """Replace the last question; an own sample with options becomes multiple choice."""
    *earlier, last = sample.turns
    turns = (*earlier, replace(last, question=question, options=tuple(options)))
    is_choice = sample.source == OWN and bool(options)
    return replace(sample, turns=turns, task=Task.MULTIPLE_CHOICE if is_choice else sample.task)
