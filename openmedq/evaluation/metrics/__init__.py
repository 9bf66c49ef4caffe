"""Pure functions of predictions: recomputable without the model, from the files that `evaluate` and `transfer` keep.

`METRICS` names them all. Scores of answers are percentages in [0, 100], the better the higher; macro-F1 lies in [0, 1],
as the paper prints it. What reads files, or asks a model, does not belong here.

| name              | arguments                         | what it is                                             |
|-------------------|-----------------------------------|--------------------------------------------------------|
| `bleu_1`          | answers, references               | corpus BLEU-1, one reference, no smoothing             |
| `bleu_1_sentence` | answers, references               | mean of the rows' own BLEU-1                           |
| `exact_match`     | answers, references, alternatives | share of rows that give an accepted answer, normalized |
| `token_f1`        | answers, references, alternatives | mean overlap of normalized words                       |
| `macro_f1`        | labels, predictions, classes      | mean F1 over the classes of a classification set       |
"""

from __future__ import annotations

from collections.abc import Callable

from openmedq.evaluation.metrics.answers import mean_exact_match, mean_token_f1
from openmedq.evaluation.metrics.bleu import bleu_1, bleu_1_sentence
from openmedq.evaluation.metrics.classification import macro_f1

METRICS: dict[str, Callable[..., float]] = {
    "bleu_1": bleu_1,
    "bleu_1_sentence": bleu_1_sentence,
    "exact_match": mean_exact_match,
    "token_f1": mean_token_f1,
    "macro_f1": macro_f1,
}

__all__ = ["METRICS", "bleu_1", "bleu_1_sentence", "macro_f1", "mean_exact_match", "mean_token_f1"]
