"""Exact match and token F1 of short answers, after the normalization of the VQA challenge, mended for medicine.

Steps of `normalize_answer`, in order:

1. Unicode NFKC, lower case; typographic apostrophes and minus signs become plain ones.
2. Apostrophes go ("Crohn's" = "Crohns"); a comma between thousands goes ("1,000" = "1000").
3. Every other character that is no letter, mark or digit becomes a space, except what carries a value:
   a decimal point, a sign before a number, and `< > = + % ±` and their like.
4. `zero` to `ten` become digits.
5. `the` and `an` go. `a` goes only in front of other words: the challenge drops it everywhere, which would
   make "hepatitis A" and "hepatitis" the same answer.

An answer of nothing else than articles or punctuation keeps its words, or its characters: nothing becomes "",
except what holds no character at all. Whether an answer is right is a question of text here; of meaning it is not.

Exact match also ignores spaces between a number and its unit and around symbols ("5mm" = "5 mm", ">10%" = "> 10 %").
Token F1 counts words as they are split above; answers that match exactly have an F1 of 1.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

_APOSTROPHES = re.compile("['\u2018\u2019\u02bc]")
_MINUS_SIGNS = re.compile("[\u2212\u2010\u2011]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_POINT = r"(?<![^\W\d_])\.(?=\d)"  # before a digit and not after a letter: "0.5", ".5", but not "fig.5"
_KEPT_SYMBOLS = "<>=+%±≤≥≈°"
_SIGN = rf"(?<![^\s{_KEPT_SYMBOLS}])-(?=\.?\d)"  # at the start of a number: "-5", "<-5", but not "t2-weighted" or "3-5"
_TOKEN_CHARACTER = re.compile(rf"{_POINT}|{_SIGN}|[^\W_]|[{_KEPT_SYMBOLS}]")
_JOINTS = re.compile(rf"(?<=\d)(?=[^\W\d_])|(?=[{_KEPT_SYMBOLS}])|(?<=[{_KEPT_SYMBOLS}])")  # number|unit, symbol|any
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)}


@lru_cache(maxsize=65536)
def normalize_answer(text: str) -> str:
    """The text as it is compared: see the steps in the module's docstring. Applying it twice changes nothing."""
    plain = _to_plain_characters(text)
    words = [_DIGITS.get(word, word) for word in _split_words(plain)]
    return " ".join(_drop_articles(words) or words) or " ".join(plain.split())


@lru_cache(maxsize=65536)
def match_key(text: str) -> str:
    """What exact match compares: the normalized text, with a space before each unit and around each symbol."""
    return " ".join(_JOINTS.sub(" ", normalize_answer(text)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1.0 if the answer equals one of the accepted references after normalization, else 0.0."""
    return _best_over(_match, answer, references)


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Overlap of normalized words as in SQuAD, in [0, 1]: the best over the accepted references."""
    return _best_over(_overlap, answer, references)


def mean_exact_match(
    answers: Sequence[str], references: Sequence[str], alternatives: Sequence[Sequence[str]] = ()
) -> float:
    """Share of rows answered right, in percent; `alternatives[i]` are other answers that row i accepts."""
    return _mean_percent(exact_match, answers, references, alternatives)


def mean_token_f1(
    answers: Sequence[str], references: Sequence[str], alternatives: Sequence[Sequence[str]] = ()
) -> float:
    """Mean token F1, in percent; `alternatives[i]` are other answers that row i accepts."""
    return _mean_percent(token_f1, answers, references, alternatives)


def _mean_percent(
    score: Callable[[str, Sequence[str]], float],
    answers: Sequence[str],
    references: Sequence[str],
    alternatives: Sequence[Sequence[str]],
) -> float:
    if not answers:
        raise ValueError("no rows: a mean over none is not a score")
    accepted = alternatives or [()] * len(answers)
    rows = zip(answers, references, accepted, strict=True)
    return 100 * sum(score(answer, (reference, *others)) for answer, reference, others in rows) / len(answers)


def _best_over(score: Callable[[str, str], float], answer: str, references: Sequence[str]) -> float:
    return max(score(answer, reference) for reference in references)


def _match(answer: str, reference: str) -> float:
    return float(match_key(answer) == match_key(reference))


def _overlap(answer: str, reference: str) -> float:
    given, wanted = normalize_answer(answer).split(), normalize_answer(reference).split()
    if match_key(answer) == match_key(reference):
        return 1.0
    num_common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * num_common / (len(given) + len(wanted))


def _to_plain_characters(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).lower()
    folded = _MINUS_SIGNS.sub("-", _APOSTROPHES.sub("", folded))
    return _THOUSANDS.sub("", unicodedata.normalize("NFKC", folded))  # again: lower case can leave the normal form


def _split_words(plain: str) -> list[str]:
    kept = {match.start() for match in _TOKEN_CHARACTER.finditer(plain)}
    is_kept = (index in kept or unicodedata.category(character)[0] == "M" for index, character in enumerate(plain))
    return "".join(character if keep else " " for character, keep in zip(plain, is_kept, strict=True)).split()


def _drop_articles(words: list[str]) -> list[str]:
    words = [word for word in words if word not in ("the", "an")]
    num_leading = next((index for index, word in enumerate(words[:-1]) if word != "a"), max(len(words) - 1, 0))
    return words[num_leading:]
