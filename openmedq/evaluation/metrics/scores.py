"""The scores of a set of answered rows with their intervals, from five numbers a row.

The numbers are columns of `predictions.parquet`, so that any cut through it (a source, the closed questions, the
pictures that training never showed) is scored without a model and without the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openmedq.evaluation.metrics.answers import exact_match, token_f1
from openmedq.evaluation.metrics.bleu import bleu_of_sums, count_unigrams, to_statistics
from openmedq.evaluation.metrics.intervals import Score, bootstrap


class AnswerStatistics(NamedTuple):
    """What the scores need to know of one answered row."""

    num_matches: float  # unigrams; see metrics.bleu.UnigramCounts
    num_answer_tokens: float
    num_reference_tokens: float
    exact_match: float  # 0 or 1
    token_f1: float  # in [0, 1]


def compare(answer: str, reference: str, alternatives: Sequence[str] = ()) -> AnswerStatistics:
    """Hold an answer against its reference. The alternatives count for exact match and F1; BLEU has one reference."""
    accepted = (reference, *alternatives)
    return AnswerStatistics(
        *count_unigrams(answer, reference), exact_match(answer, accepted), token_f1(answer, accepted)
    )


def score_answers(
    statistics: Sequence[AnswerStatistics] | NDArray[np.float64],
    groups: Sequence[str],
    *,
    num_resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, float]:
    """`{"bleu_1", "bleu_1_low", "bleu_1_high", "bleu_1_sentence", ...}` in percent; no bounds from a single group."""
    rows = np.array(statistics, dtype=np.float64)
    bleu = to_statistics(rows[:, :3])
    columns = np.column_stack([bleu, bleu_of_sums(bleu), rows[:, 3:], np.ones(len(rows))])  # the last counts the rows
    intervals = bootstrap(columns, groups, _SCORES, num_resamples=num_resamples, confidence=confidence, seed=seed)
    return {key: value for name, interval in intervals.items() for key, value in interval.as_metrics(name).items()}


def _mean_of(column: int, scale: float) -> Score:
    return lambda sums: scale * sums[..., column] / sums[..., -1]


_SCORES: dict[str, Score] = {
    "bleu_1": lambda sums: bleu_of_sums(sums[..., :4]),
    "bleu_1_sentence": _mean_of(4, scale=1),
    "exact_match": _mean_of(5, scale=100),
    "token_f1": _mean_of(6, scale=100),
}
