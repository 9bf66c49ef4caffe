"""BLEU-1 as in other public code of the paper's first author, and the other definitions behind published scores.

The two main metrics, `bleu_1` and `bleu_1_sentence`, take tokens of `nltk.word_tokenize` of the lower-cased text and
one reference. Lower case is the only normalization; punctuation counts. Functions of one row take an answer and its
accepted references, of which the first is the record's own, and return counts or a score in [0, 1].
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import takewhile

import numpy as np

from openmedq.evaluation.metrics.metric import CACHED_TEXTS, Count, Numbers
from openmedq.evaluation.metrics.tokens import split_naively, stem, tokenize, tokenize_13a

Tokens = Sequence[str]
Counts = tuple[int, int, int, int]  # matches, tried tokens, answer tokens, reference tokens

MAX_ORDER = 4  # of the n-grams of NLTK's default weights


def count_unigrams(answer: str, references: Sequence[str]) -> Counts:
    """Count matches, tried tokens, answer tokens and reference tokens of the answer and the first reference.

    Matches are answer tokens that are in the reference, each at most as often as in the reference. Tried tokens are
    answer tokens, but at least 1: NLTK's precision counts an empty answer as one wrong token.
    """
    given, wanted = tokenize(answer), tokenize(references[0])
    return _count_matches(given, wanted), max(len(given), 1), len(given), len(wanted)


def count_unigrams_13a(answer: str, references: Sequence[str]) -> Counts:
    """As `count_unigrams`, with sacrebleu's lower-case 13a tokens; as there, an empty answer has 0 tried tokens."""
    given, wanted = tokenize_13a(answer), tokenize_13a(references[0])
    return _count_matches(given, wanted), len(given), len(given), len(wanted)


def bleu_of_sums(sums: Numbers, num_rows: Count) -> Numbers:
    """Corpus BLEU-1 in percent of (..., 4) sums of Counts: precision times brevity penalty, no smoothing."""
    num_matches, num_tried, num_answered, num_wanted = np.moveaxis(sums, -1, 0)
    penalty = np.exp(np.minimum(0.0, 1 - num_wanted / np.maximum(num_answered, 1)))
    return np.asarray(100 * num_matches / np.maximum(num_tried, 1) * penalty)


def precision_of_sums(sums: Numbers, num_rows: Count) -> Numbers:
    """Unigram precision over the corpus in percent, without the brevity penalty."""
    return np.asarray(100 * sums[..., 0] / np.maximum(sums[..., 1], 1))


def sentence_bleu(answer: str, references: Sequence[str]) -> float:
    """BLEU-1 of the row alone, in [0, 1].

    Equals NLTK's `sentence_bleu` with smoothing method 1: a row without a match scores 0 in NLTK too.
    """
    return _score_unigrams(tokenize(answer), tokenize(references[0]))


def naive_bleu(answer: str, references: Sequence[str]) -> float:
    """BLEU-1 of MedEvalKit, in [0, 1]; MedEvalKit computes it for open questions only.

    Source: MedEvalKit, utils/utils.py, without its search for a final answer in the text of a reasoning model.
    """
    return _score_unigrams(split_naively(answer), split_naively(references[0]))


def character_bleu(answer: str, references: Sequence[str]) -> float:
    """What NLTK's `sentence_bleu` with weights (1, 0, 0, 0) returns for two strings instead of tokens, in [0, 1].

    Each character of the reference is then a reference of its own, so that each distinct character of the answer
    matches once, and the brevity penalty is 1. Source: open-ended-medical-vqa (prefix tuning), predict.py.
    """
    return len({*answer} & {*references[0]}) / max(len(answer), 1)


def imageclef_bleu_old(answer: str, references: Sequence[str]) -> float:
    """BLEU of the ImageCLEF VQA-Med evaluator under NLTK 3.2.5 or older, in [0, 1].

    These versions stop at the first order without a match and do not normalize the remaining weights.
    """

    def combine(precisions: Sequence[float]) -> float:
        return math.pow(math.prod(takewhile(bool, precisions)), 1 / MAX_ORDER)

    return max(_combine_orders(answer, reference, combine) for reference in _split_references(references))


def imageclef_bleu(answer: str, references: Sequence[str]) -> float:
    """BLEU of the ImageCLEF VQA-Med evaluator under current NLTK, in [0, 1].

    An order without a match counts as the smallest positive float, so that answers of fewer than four tokens score
    almost 0. Source of both: VQA-Med-2020, Evaluator-VQA-Med-2020.py; 2019's own evaluator was not published.
    """

    def combine(precisions: Sequence[float]) -> float:
        return math.prod(math.pow(each or sys.float_info.min, 1 / MAX_ORDER) for each in precisions)

    return max(_combine_orders(answer, reference, combine) for reference in _split_references(references))


def _split_references(references: Sequence[str]) -> list[str]:
    """Split references at `#`, which separates accepted answers in the evaluator's file."""
    return [part for reference in references for part in reference.split("#")]


def _combine_orders(answer: str, reference: str, combine: Callable[[Sequence[float]], float]) -> float:
    given, wanted = stem(answer), stem(reference)
    if not given and not wanted:
        return 1.0
    precisions = _precisions(given, wanted)
    return _penalize(given, wanted) * combine(precisions) if precisions[0] else 0.0


@lru_cache(maxsize=CACHED_TEXTS)
def _precisions(given: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[float, ...]:
    """The n-gram precision of each order; orders after the first without a match have 0."""
    found: list[float] = []
    for order in range(1, MAX_ORDER + 1):
        if order > len(given) or (found and not found[-1]):
            return (*found, *(0.0 for _ in range(MAX_ORDER - len(found))))
        mine, others = (list(zip(*(each[n:] for n in range(order)), strict=False)) for each in (given, wanted))
        found.append(_count_matches(mine, others) / len(mine))
    return tuple(found)


def _score_unigrams(given: Tokens, wanted: Tokens) -> float:
    return _penalize(given, wanted) * _count_matches(given, wanted) / max(len(given), 1)


def _count_matches(given: Sequence[object], wanted: Sequence[object]) -> int:
    if given == wanted:
        return len(given)
    if len(given) == 1:  # as most answers
        return int(given[0] in wanted)
    return sum((Counter(given) & Counter(wanted)).values())


def _penalize(given: Tokens, wanted: Tokens) -> float:
    """The brevity penalty."""
    return math.exp(min(0.0, 1 - len(wanted) / len(given))) if given else 0.0
