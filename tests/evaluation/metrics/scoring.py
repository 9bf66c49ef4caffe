"""Scores of metrics by name, computed from texts or labels."""

from collections.abc import Sequence
from typing import Any

from openmedq.evaluation.metrics import CLASSIFICATION_METRICS, METRICS
from openmedq.evaluation.metrics.metric import Metric


def find(name: str) -> Metric:
    return next(metric for metric in (*METRICS, *CLASSIFICATION_METRICS) if metric.name == name)


def score(name: str, answers: Sequence[str], references: Sequence[str]) -> float:
    """The score of answers with one reference each."""
    rows = [(answer, [reference]) for answer, reference in zip(answers, references, strict=True)]
    return find(name).score(find(name).measure(rows))


def macro_f1(labels: Sequence[Any], predictions: Sequence[Any], classes: Sequence[str]) -> float:
    """Macro-F1 of rows with one label or a set of labels each."""
    pairs = zip(labels, predictions, strict=True)
    rows = [(*([one] if isinstance(one, str) else one for one in pair), classes) for pair in pairs]
    return find("macro_f1").score(find("macro_f1").measure(rows))
