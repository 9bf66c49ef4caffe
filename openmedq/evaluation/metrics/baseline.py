"""Baselines that look at no image: the most frequent training answer to the question, and that of the source."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from openmedq.evaluation.metrics.answers import normalize_answer


class MostFrequentAnswer:
    """Counts normalized training answers: by question for the given questions, by source, and over all."""

    def __init__(self, questions: Iterable[str]) -> None:
        keys = {normalize_answer(question) for question in questions} - {""}
        self._of_question: dict[str, Counter[str]] = {key: Counter() for key in sorted(keys)}
        self._of_source: dict[str, Counter[str]] = defaultdict(Counter)
        self._of_all: Counter[str] = Counter()
        self._majorities: dict[str, str] = {}

    def add(self, source: str, question: str, answer: str) -> None:
        """Count one training answer."""
        normalized = normalize_answer(answer)
        self._majorities.clear()
        self._of_all[normalized] += 1
        self._of_source[source][normalized] += 1
        counts = self._of_question.get(normalize_answer(question))
        if counts is not None:
            counts[normalized] += 1

    def answer(self, source: str, question: str) -> str:
        """The most frequent answer to the same question, else of the source, else of all; "" before any `add`.

        Ties go by the alphabet.
        """
        same_question = self._of_question.get(normalize_answer(question))
        return _most_frequent(same_question) if same_question else self.answer_of_source(source)

    def answer_of_source(self, source: str) -> str:
        """The most frequent answer of the source, else of all; "" before any `add`. Ties go by the alphabet."""
        if source not in self._majorities:
            self._majorities[source] = _most_frequent(self._of_source.get(source) or self._of_all)
        return self._majorities[source]


def _most_frequent(counts: Counter[str]) -> str:
    return min(counts, key=lambda answer: (-counts[answer], answer)) if counts else ""
