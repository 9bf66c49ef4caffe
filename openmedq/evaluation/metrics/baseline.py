"""Baselines that look at no image: the most frequent training answer to the question, and that of the source."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from openmedq.evaluation.metrics.answers import normalize_answer


class MostFrequentAnswer:
    """Counts normalized training answers: to each of some questions, of each source, and of all."""

    def __init__(self, questions: Iterable[str]) -> None:
        self._questions = {normalize_answer(question) for question in questions} - {""}
        self._counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._most_frequent: dict[tuple[str, str], str] = {}

    def add(self, source: str, question: str, answer: str) -> None:
        """Count one training answer."""
        self._most_frequent.clear()
        normalized, asked = normalize_answer(answer), normalize_answer(question)
        self._counts["all", ""][normalized] += 1
        self._counts["source", source][normalized] += 1
        if asked in self._questions:
            self._counts["question", asked][normalized] += 1

    def answer(self, source: str, question: str) -> str:
        """The most frequent answer to the same question, else of the source, else of all; "" before any `add`.

        Ties go by the alphabet.
        """
        return self._find(("question", normalize_answer(question)), ("source", source), ("all", ""))

    def answer_of_source(self, source: str) -> str:
        """The most frequent answer of the source, else of all; "" before any `add`. Ties go by the alphabet."""
        return self._find(("source", source), ("all", ""))

    def _find(self, *keys: tuple[str, str]) -> str:
        key = next((key for key in keys if key in self._counts), None)
        if key is None:
            return ""
        if key not in self._most_frequent:
            counts = self._counts[key]
            self._most_frequent[key] = min(counts, key=lambda answer: (-counts[answer], answer))
        return self._most_frequent[key]
