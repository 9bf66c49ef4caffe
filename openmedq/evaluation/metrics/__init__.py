"""The metrics: pure functions of predictions, recomputable without a model from what evaluate and transfer write.

To add a metric, write its function in this package and add a line to a table below. metrics.json, the report, the
summary, MLflow and DVC then show it. Scores of answers are percentages in [0, 100]; scores of classes lie in [0, 1],
as the paper prints them.
"""

from openmedq.evaluation.metrics import bleu, overlap
from openmedq.evaluation.metrics.answers import exact_match, token_f1
from openmedq.evaluation.metrics.classification import balanced_accuracy_of_classes, count_outcomes, f1_of_classes
from openmedq.evaluation.metrics.metric import CLOSED, OPEN, Metric

BLEU = "BLEU-1"  # family: canonical and other definitions of one published figure

# `of_row` takes an answer and its accepted references, of which the first is the record's own.
METRICS = [
    Metric("bleu_1", "BLEU-1", bleu.count_unigrams, bleu.bleu_of_sums, is_headline=True, family=BLEU),
    Metric("bleu_1_sentence", "Sentence BLEU-1", bleu.sentence_bleu, family=BLEU),
    Metric("exact_match", "Exact match", exact_match, is_headline=True, has_baseline=True),
    Metric("token_f1", "Token F1", token_f1),
    Metric("rouge_l", "ROUGE-L", overlap.rouge_l),
    Metric("open_recall", "Open recall", overlap.open_recall, answer_type=OPEN),
    Metric("closed_accuracy", "Closed accuracy", overlap.closed_accuracy, answer_type=CLOSED),
    Metric(
        "yes_no_accuracy",
        "Yes/no by first word",
        overlap.leading_word,
        answer_type=CLOSED,
        is_variant=True,
    ),
    Metric("choice_accuracy", "Multiple choice, generated", exact_match, scores="choice"),
    Metric("likelihood_accuracy", "Multiple choice by likelihood", exact_match, scores="likeliest_choice"),
    Metric(
        "likelihood_accuracy_normalized",
        "Multiple choice by likelihood per token",
        exact_match,
        scores="likeliest_choice_per_token",
    ),
    Metric("bleu_imageclef_old", "ImageCLEF, NLTK ≤ 3.2.5", bleu.imageclef_bleu_old, family=BLEU, is_variant=True),
    Metric("bleu_imageclef", "ImageCLEF, current NLTK", bleu.imageclef_bleu, family=BLEU, is_variant=True),
    Metric("bleu_characters", "Characters (prefix tuning)", bleu.character_bleu, family=BLEU, is_variant=True),
    Metric("bleu_medevalkit", "MedEvalKit, open only", bleu.naive_bleu, answer_type=OPEN, family=BLEU, is_variant=True),
    Metric(
        "bleu_sacrebleu",
        "sacrebleu, order 1, lower case, 13a",
        bleu.count_unigrams_13a,
        bleu.bleu_of_sums,
        family=BLEU,
        is_variant=True,
    ),
    Metric(
        "bleu_precision",
        "Unigram precision, no brevity penalty",
        bleu.count_unigrams,
        bleu.precision_of_sums,
        family=BLEU,
        is_variant=True,
    ),
]

# All are functions of the sums of `count_outcomes`, which takes the labels of a row, the predicted classes, and all
# classes of the dataset; `of_sums` returns the score of each class, (..., m). The metric is their mean.
CLASSIFICATION_METRICS = [
    Metric("macro_f1", "Macro-F1", count_outcomes, f1_of_classes, is_headline=True),
    Metric("balanced_accuracy", "Balanced accuracy", count_outcomes, balanced_accuracy_of_classes),
]
