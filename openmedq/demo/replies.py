"""Ask the trained model: its answer and the probabilities of the options, with the images and with gray ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from openmedq import paths
from openmedq.evaluation.controls import show_gray
from openmedq.evaluation.generate import Answer, make_answerer
from openmedq.evaluation.likelihood import Scorer, list_answers
from openmedq.model.model import pick_device
from openmedq.schema import Sample

BATCH_SIZE = 2  # the question with its images, and with gray ones


class Reply(NamedTuple):
    """The answer to a question."""

    answer: Answer
    shares: dict[str, float]  # option, or yes and no: its share of `total`; empty if the question has neither
    total: float  # probability that the model writes exactly one of the options


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
        weights = self._weigh(shown, options)
        return [Reply(answer, *weight) for answer, weight in zip(answers, weights, strict=True)]

    def _weigh(self, samples: Sequence[Sample], options: Sequence[str]) -> list[tuple[dict[str, float], float]]:
        if not options:
            return [({}, 0.0)] * len(samples)
        rows = [self._scorer.encode(sample, options) for sample in samples]
        is_listed = bool(samples[0].turns[-1].options)
        weights = []
        for found in self._scorer.score(rows, self._scorer.read_images(samples)):
            total = np.logaddexp.reduce(found.log_probs)
            shares: dict[str, float] = {}
            for option, log_prob in zip(options, found.log_probs, strict=True):
                name = option if is_listed else option.lower()  # yes and no have two spellings
                shares[name] = shares.get(name, 0.0) + float(np.exp(log_prob - total))
            weights.append((shares, float(np.exp(total))))
        return weights
