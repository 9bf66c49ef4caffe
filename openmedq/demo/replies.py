"""Ask the trained model: its answer and the probabilities of the options, with the images and with gray ones."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from openmedq import paths
from openmedq.evaluation.controls import show_gray
from openmedq.evaluation.generate import LENGTH, Answer, make_answerer
from openmedq.evaluation.likelihood import Scorer, list_answers
from openmedq.model.model import pick_device
from openmedq.schema import Sample

BATCH_SIZE = 2  # the question with its images, and with gray ones


class Reply(NamedTuple):
    """The answer to a question."""

    answer: Answer
    shares: dict[str, float]  # option, or yes and no: its share of `total`; empty if the question has neither
    total: float  # probability that the model writes exactly one of the options

    def describe(self) -> str:
        """The probability of the answer, and whether the answer or the prompt was cut."""
        stop = f"; not ended after {self.answer.num_tokens} tokens" if self.answer.stop == LENGTH else ""
        cut = "; the prompt was too long and was shortened" if self.answer.is_cut else ""
        return f"{self.answer.probability:.1%}{stop}{cut}"


class Model:
    """The trained model in memory; the answers and the probabilities share its weights."""

    def __init__(self, device: str, max_new_tokens: int) -> None:
        """Load the model; ModelError if there is none."""
        self._scorer = Scorer(paths.MODEL, pick_device(device), BATCH_SIZE)
        model, processor = self._scorer.model, self._scorer.processor
        self._answer = make_answerer(model, processor, max_new_tokens=max_new_tokens, batch_size=BATCH_SIZE)

    def ask(self, sample: Sample) -> list[Reply]:
        """Return the reply to the last question and, if it has images, the reply with gray ones (control `blank`)."""
        shown = [sample, show_gray(sample)] if sample.images else [sample]
        answers = list(self._answer(shown))
        *earlier, turn = sample.turns
        answered = replace(sample, turns=(*earlier, replace(turn, answer=answers[0].text)))
        options = list_answers(sample) or list_answers(answered)  # yes and no, if the reference or the answer is one
        if not options:
            return [Reply(answer, {}, 0.0) for answer in answers]
        names = turn.options or [option.lower() for option in options]  # yes and no have two spellings
        rows = [self._scorer.encode(each, options) for each in shown]
        found = self._scorer.score(rows, self._scorer.read_images(shown))
        return [_divide(answer, names, each.log_probs) for answer, each in zip(answers, found, strict=True)]


def _divide(answer: Answer, names: Sequence[str], log_probs: Sequence[float]) -> Reply:
    total = np.logaddexp.reduce(log_probs)
    shares = dict.fromkeys(names, 0.0)
    for name, log_prob in zip(names, log_probs, strict=True):
        shares[name] += float(np.exp(log_prob - total))
    return Reply(answer, shares, float(np.exp(total)))
