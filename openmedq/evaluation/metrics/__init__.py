"""The metrics: pure functions of predictions, recomputable without a model from what evaluate and transfer write.

To add a metric, write its function in this package and add a line to a table below. metrics.json, the report, the
summary, MLflow and DVC then show it. Scores of answers are percentages in [0, 100]; scores of classes lie in [0, 1],
as the paper prints them.
"""

from __future__ import annotations

from openmedq.evaluation.metrics.answers import exact_match, token_f1
from openmedq.evaluation.metrics.bleu import UNIGRAM_COUNTS, bleu_of_sums, count_unigrams, sentence_bleu
from openmedq.evaluation.metrics.classification import count_outcomes, macro_f1_of_sums
from openmedq.evaluation.metrics.metric import Metric

# `of_row` takes an answer and its accepted references, of which the first is the record's own.
METRICS = [
    Metric("bleu_1", "BLEU-1", count_unigrams, bleu_of_sums, columns=UNIGRAM_COUNTS, is_headline=True),
    Metric("bleu_1_sentence", "Sentence BLEU-1", sentence_bleu),
    Metric("exact_match", "Exact match", exact_match, is_headline=True, has_baseline=True),
    Metric("token_f1", "Token F1", token_f1),
]

# `of_row` takes the labels of a row, the predicted classes, and all classes of the dataset.
CLASSIFICATION_METRICS = [
    Metric("macro_f1", "Macro-F1", count_outcomes, macro_f1_of_sums, is_headline=True),
]
