"""Scores of other published tables: ROUGE-L, and LLaVA-Med's open recall and closed accuracy."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from openmedq.evaluation.metrics.answers import normalize_answer
from openmedq.evaluation.metrics.metric import CACHED_TEXTS
from openmedq.evaluation.metrics.tokens import split_alphanumeric

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_THOUSANDS = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_NUMBER_WORDS = ("none", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(max(number - 1, 0)) for number, word in enumerate(_NUMBER_WORDS)}


def rouge_l(answer: str, references: Sequence[str]) -> float:
    """F-measure of the longest common subsequence of tokens, in [0, 1], the best over the references.

    As the package `rouge_score` without its stemmer.
    """
    given = split_alphanumeric(answer)
    pairs = ((_count_common(given, wanted), len(wanted)) for wanted in map(split_alphanumeric, references))
    return max(2 * num_common / (len(given) + size) if num_common else 0.0 for num_common, size in pairs)


def open_recall(answer: str, references: Sequence[str]) -> float:
    """Share of the first reference's tokens that the answer has, in [0, 1]; LLaVA-Med's score of open questions.

    As in its `calculate_f1score`, a token that both have counts as often as the answer has it.
    """
    given, wanted = Counter(normalize_vqa(answer).split()), Counter(normalize_vqa(references[0]).split())
    num_found = sum(number for token, number in given.items() if token in wanted)
    num_absent = sum(number for token, number in wanted.items() if token not in given)
    return num_found / max(num_found + num_absent, 1)


def closed_accuracy(answer: str, references: Sequence[str]) -> float:
    """1.0 if the answer contains the first reference, else 0.0; LLaVA-Med's score of closed questions.

    LLaVA-Med's `run_eval.py` leaves a wrong yes or no out of the denominator; here each closed row counts.
    """
    wanted = normalize_vqa(references[0])
    return float(bool(wanted) and wanted in normalize_vqa(answer))


def leading_word(answer: str, references: Sequence[str]) -> float:
    """1.0 if the first word of the answer is the reference, else 0.0; NaN if the reference is neither yes nor no."""
    wanted = normalize_answer(references[0])
    return float(normalize_answer(answer).split()[:1] == [wanted]) if wanted in ("yes", "no") else math.nan


@lru_cache(maxsize=CACHED_TEXTS)
def normalize_vqa(text: str) -> str:
    """The normalization of LLaVA-Med's scripts, that of the VQA challenge, without its table of contractions.

    Punctuation beside a space is removed, other punctuation becomes a space; full stops are removed but before a
    digit; number words become digits; articles are removed.
    """
    lowered = plain = text.lower()
    has_thousands = _THOUSANDS.search(lowered) is not None
    for mark in _PUNCTUATION:
        is_removed = has_thousands or f"{mark} " in lowered or f" {mark}" in lowered
        plain = plain.replace(mark, "" if is_removed else " ")
    words = (_DIGITS.get(word, word) for word in _FULL_STOP.sub("", plain).split())
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def _count_common(given: Sequence[str], wanted: Sequence[str]) -> int:
    """Length of the longest common subsequence, by a row of the table as the bits of one integer (Hyyrö, 2004)."""
    places: dict[str, int] = {}
    for place, token in enumerate(given):
        places[token] = places.get(token, 0) | 1 << place
    row = everything = (1 << len(given)) - 1
    for token in wanted:
        matches = row & places.get(token, 0)
        row = (row + matches | row - matches) & everything
    return len(given) - row.bit_count()
