"""What a model that never looks would score: for each question the most frequent answer of training.

A score says something only beside this floor: a set of closed questions is half right without a picture.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from openmedq.evaluation.metrics.answers import normalize_answer


class MostFrequentAnswer:
    """Counts training answers; keeps those apart whose question, by its normalized text, is among `questions`."""

    def __init__(self, questions: Iterable[str]) -> None:
        """Nothing counted yet; a question of no text at all is not known by it."""
        keys = {normalize_answer(question) for question in questions} - {""}
        self._of_question: dict[str, Counter[str]] = {key: Counter() for key in sorted(keys)}
        self._of_source: dict[str, Counter[str]] = defaultdict(Counter)
        self._of_all: Counter[str] = Counter()

    def add(self, source: str, question: str, answer: str) -> None:
        """Count one training answer."""
        normalized = normalize_answer(answer)
        self._of_all[normalized] += 1
        self._of_source[source][normalized] += 1
        asked = self._of_question.get(normalize_answer(question))
        if asked is not None:
            asked[normalized] += 1

    def answer(self, source: str, question: str) -> str:
        """The most frequent answer to the same question; else of the same source; else of all; "" without any."""
        asked = self._of_question.get(normalize_answer(question))
        counts = asked or self._of_source.get(source) or self._of_all
        return min(counts, key=lambda answer: (-counts[answer], answer)) if counts else ""
