"""The majority baseline: it answers each question with the most frequent training answer, without the image."""

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

    def add(self, source: str, question: str, answer: str) -> None:
        """Count one training answer."""
        normalized = normalize_answer(answer)
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
        counts = same_question or self._of_source.get(source) or self._of_all
        return min(counts, key=lambda answer: (-counts[answer], answer)) if counts else ""
