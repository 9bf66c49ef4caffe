"""Exact match and token F1 of short answers, after the VQA challenge's normalization, adapted to medical text.

Steps of `normalize_answer`, in order:

1. Unicode NFKC, lower case; typographic apostrophes and minus signs become plain ones.
2. Apostrophes are removed ("Crohn's" = "Crohns"), and commas between thousands ("1,000" = "1000").
3. Every other character that is not a letter, mark or digit becomes a space, except those that carry a value:
   a decimal point, a sign before a number, and `< > = + % ±` and similar symbols.
4. `zero` to `ten` become digits.
5. `the` and `an` are removed. `a` is removed only in front of other words: the challenge removes it everywhere, which
   would make "hepatitis A" and "hepatitis" the same answer.

An answer that consists of articles or punctuation only keeps them, so that no text becomes "".
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from openmedq.evaluation.metrics.metric import CACHED_TEXTS

_APOSTROPHES = re.compile("['\u2018\u2019\u02bc]")
_MINUS_SIGNS = re.compile("[\u2212\u2010\u2011]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_POINT = r"(?<![^\W\d_])\.(?=\d)"  # before a digit and not after a letter: "0.5", ".5", but not "fig.5"
_KEPT_SYMBOLS = "<>=+%±≤≥≈°"
_SIGN = rf"(?<![^\s{_KEPT_SYMBOLS}])-(?=\.?\d)"  # at the start of a number: "-5", "<-5", but not "t2-weighted" or "3-5"
_OTHER_CHARACTER = re.compile(rf"(?!{_POINT}|{_SIGN}|[^\W_]|[{_KEPT_SYMBOLS}]).", re.DOTALL)
_PLAIN = re.compile(r"[a-z0-9]+(?: [a-z0-9]+)*\.?")  # most answers: nothing to normalize but words
_JOINTS = re.compile(rf"(?<=\d)(?=[^\W\d_])|(?=[{_KEPT_SYMBOLS}])|(?<=[{_KEPT_SYMBOLS}])")  # number|unit, symbol|any
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)}


@lru_cache(maxsize=CACHED_TEXTS)
def normalize_answer(text: str) -> str:
    """Normalize by the steps of the module's docstring; idempotent."""
    plain = text.lower()
    if _PLAIN.fullmatch(plain):
        split = plain.removesuffix(".").split()
    else:
        folded = _MINUS_SIGNS.sub("-", _APOSTROPHES.sub("", unicodedata.normalize("NFKC", text).lower()))
        # again: lower case can leave the normal form
        plain = _THOUSANDS.sub("", unicodedata.normalize("NFKC", folded))
        split = _OTHER_CHARACTER.sub(_keep_mark, plain).split()
    words = [_DIGITS.get(word, word) for word in split]
    return " ".join(_drop_articles(words) or words) or " ".join(plain.split())


@lru_cache(maxsize=CACHED_TEXTS)
def match_key(text: str) -> str:
    """What exact match compares: the normalized text with a space before each unit and around each symbol.

    So "5mm" = "5 mm", and ">10%" = "> 10 %".
    """
    return " ".join(_JOINTS.sub(" ", normalize_answer(text)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1.0 if the answer equals one of the accepted references after normalization, else 0.0."""
    return float(any(match_key(answer) == match_key(reference) for reference in references))


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Overlap of normalized words as in SQuAD, in [0, 1], the best over the references; 1 where they match exactly."""
    return max(_overlap(answer, reference) for reference in references)


def _overlap(answer: str, reference: str) -> float:
    if match_key(answer) == match_key(reference):
        return 1.0
    given, wanted = normalize_answer(answer).split(), normalize_answer(reference).split()
    num_common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * num_common / (len(given) + len(wanted))


def _keep_mark(match: re.Match[str]) -> str:
    return match[0] if unicodedata.category(match[0])[0] == "M" else " "


def _drop_articles(words: list[str]) -> list[str]:
    words = [word for word in words if word not in ("the", "an")]
    num_leading = next((index for index, word in enumerate(words[:-1]) if word != "a"), max(len(words) - 1, 0))
    return words[num_leading:]
