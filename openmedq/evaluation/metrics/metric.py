"""What a metric is: numbers of each row, and a score of their sums."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]
Count = float | Numbers  # of rows, for one sum or for each of several

OPEN, CLOSED = "open", "closed"  # types of answers
CHUNK_ROWS = 2**15  # that all metrics measure before the next ones
CACHED_TEXTS = 2**17  # of each cache of tokens: more than the distinct texts of a chunk


def mean_percent(sums: Numbers, num_rows: Count) -> Numbers:
    """Mean of the only number of each row, which lies in [0, 1], in percent."""
    return 100 * sums[..., 0] / num_rows


@dataclass(frozen=True, slots=True)
class Metric:
    """A score of rows that is a function of sums over the rows, so that resampling needs the sums alone."""

    name: str  # key in metrics.json, MLflow and DVC
    title: str  # in tables
    of_row: Callable[..., ArrayLike]  # K numbers of a row; NaN: it does not count
    of_sums: Callable[[Numbers, Count], Numbers] = mean_percent  # (..., K) sums, number of rows -> (...)
    is_headline: bool = False  # at the top of the report, with its interval in the summary, a metric of MLflow's run
    has_baseline: bool = False  # scored for the majority baseline too
    answer_type: str | None = None  # OPEN or CLOSED: rows of the other type do not count
    scores: str = "answer"  # what is scored: a column of predictions.parquet, or a name in `choices.CHOICES`
    family: str = ""  # the figure of which it is one definition; the report compares the definitions
    is_variant: bool = False  # only in metrics.json and in the comparison of definitions

    def measure(self, rows: Sequence[tuple[Any, ...]]) -> Numbers:
        """The numbers of all rows, (rows, K); each row is the arguments of `of_row`."""
        numbers = np.array([self.of_row(*row) for row in rows], dtype=np.float64)
        return numbers.reshape(len(rows), -1) if len(rows) else np.zeros((0, 1))


def measure_rows(metrics: Sequence[Metric], rows: Sequence[tuple[Any, ...]]) -> list[Numbers]:
    """The numbers of all rows for each metric, (rows, K); equal rows are measured once."""
    places: dict[tuple[Any, ...], int] = {}
    of_row = [places.setdefault(row, len(places)) for row in rows]
    distinct = list(places)
    chunks = [distinct[start : start + CHUNK_ROWS] for start in range(0, max(len(distinct), 1), CHUNK_ROWS)]
    measured = [[metric.measure(chunk) for metric in metrics] for chunk in chunks]
    return [np.concatenate(parts)[of_row] for parts in zip(*measured, strict=True)]


def describe(metrics: Sequence[Metric]) -> list[Mapping[str, Any]]:
    """Describe the metrics for readers of metrics.json. DVC ignores lists in metrics files."""
    names = ("name", "title", "is_headline", "has_baseline", "family", "is_variant")
    return [{name: getattr(metric, name) for name in names} for metric in metrics]


def flatten(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of `{"vqa_rad": {"bleu_1": 50.0}}` as `{"vqa_rad/bleu_1": 50.0}`, as MLflow takes them."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        elif not isinstance(value, list):
            flat[f"{prefix}{name}"] = value
    return flat


def select_headline(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The few scores of metrics.json that a page of runs can show; `tabulate` gives all.

    Those are the headline metrics of all rows with their intervals, and the first headline metric of each source as
    `bleu_1_of/vqa_rad`: MLflow shows what precedes the last slash as one section of charts.
    """
    names = [metric["name"] for metric in metrics["metrics"] if metric["is_headline"]]
    bounded = [f"{name}{bound}" for name in names for bound in ("", "_low", "_high")]
    groups = {group: scores for group, scores in metrics.items() if isinstance(scores, Mapping)}
    overall = groups.pop("all")
    of_all = {f"all/{name}": overall[name] for name in bounded if name in overall}
    first = names[0]
    return of_all | {f"{first}_of/{source}": scores[first] for source, scores in groups.items() if first in scores}


def tabulate(metrics: Mapping[str, Any], of: str = "") -> list[dict[str, Any]]:
    """All numbers of a tree, one row for each of its nodes: `{"of": "vqa_rad/open", "bleu_1": 50.0, ...}`."""
    numbers = {name: value for name, value in metrics.items() if not isinstance(value, (Mapping, list))}
    rows = [{"of": of, **numbers}] if numbers else []
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            rows += tabulate(value, f"{of}/{name}" if of else name)
    return rows
