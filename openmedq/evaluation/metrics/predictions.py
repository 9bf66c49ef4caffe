"""The table predictions.parquet and its scores, which need no model.

A row holds the question, the references, the answer, the numbers that the metrics sum up, and the way back to the
published record with its licence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openmedq.evaluation.metrics import METRICS
from openmedq.evaluation.metrics.answers import normalize_answer
from openmedq.evaluation.metrics.intervals import bootstrap
from openmedq.evaluation.metrics.metric import Metric, Numbers, describe
from openmedq.storage.progress import Answers

OPEN, CLOSED = "open", "closed"
BASELINE = "baseline_"  # prefix of the majority baseline's columns and scores


def prediction_schema() -> pa.Schema:
    """The columns of predictions.parquet, with those of all metrics."""
    names = [*_columns_of(METRICS), *(f"{BASELINE}{name}" for name in _columns_of(_with_baseline()))]
    return pa.schema(
        [
            *(pa.field(name, pa.string(), False) for name in ("id", "source", "split", "task", "question")),
            pa.field("options", pa.list_(pa.string()), False),
            pa.field("reference", pa.string(), False),
            pa.field("alternatives", pa.list_(pa.string()), False),  # other accepted answers
            pa.field("answer", pa.string(), False),
            pa.field("answer_type", pa.string(), False),  # open or closed
            pa.field("image_ids", pa.list_(pa.string()), False),
            pa.field("is_image_new", pa.bool_()),  # no training row shows the same pixels; null without an image
            pa.field("baseline_answer", pa.string(), False),  # normalized; see metrics.baseline
            *(pa.field(name, pa.float64(), False) for name in names),
            pa.field("provenance", pa.struct([pa.field(name, pa.string()) for name in ("file", "record")]), False),
            pa.field("licence", pa.string(), False),
        ]
    )


def score_row(answer: str, baseline_answer: str, references: Sequence[str]) -> dict[str, float]:
    """The metrics' columns of one row; `references` are all accepted answers, the record's own first."""
    row: dict[str, float] = {}
    for prefix, text, metrics in (("", answer, METRICS), (BASELINE, baseline_answer, _with_baseline())):
        for metric in metrics:
            numbers = metric.measure([(text, references)])[0].tolist()
            row |= {f"{prefix}{name}": number for name, number in zip(metric.column_names, numbers, strict=True)}
    return row


def answer_type_of(attributes: Mapping[str, str], options: tuple[str, ...], reference: str) -> str:
    """`open` or `closed`, as the record states; otherwise closed if there are options or the reference is yes or no."""
    stated = attributes.get("answer_type", "").strip().lower()
    if stated in (OPEN, CLOSED):
        return stated
    return CLOSED if options or normalize_answer(reference) in ("yes", "no") else OPEN


def score_predictions(
    predictions: pa.Table,
    num_available: Mapping[str, int],
    *,
    num_resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """`{"metrics": descriptions, "all": scores, "<source>": scores, ...}`, sources by id, values with 4 decimals.

    Scores are `num_rows` of `num_available`, each metric with `_low` and `_high` (intervals clustered by image), and
    `baseline_<metric>`; under `open`, `closed` and `new_images` the same of a part of the rows. Without rows there are
    no scores. `all` states the `confidence` of the intervals.
    """
    options = {"num_resamples": num_resamples, "confidence": confidence, "seed": seed}
    overall = _score_with_parts(predictions, sum(num_available.values()), options)
    metrics: dict[str, Any] = {"metrics": describe(METRICS), "all": overall | {"confidence": confidence}}
    for source in sorted(num_available):
        rows = predictions.filter(pc.equal(predictions["source"], source))
        metrics[source] = _score_with_parts(rows, num_available[source], options)
    return metrics


def _score_with_parts(rows: pa.Table, num_available: int, options: Mapping[str, Any]) -> dict[str, Any]:
    parts = {
        OPEN: pc.equal(rows["answer_type"], OPEN),
        CLOSED: pc.equal(rows["answer_type"], CLOSED),
        "new_images": pc.fill_null(rows["is_image_new"], False),
    }
    scores = _score(rows, options)
    return {
        "num_rows": scores.pop("num_rows"),
        "num_available": num_available,
        **scores,
        **{name: _score(rows.filter(is_part), options) for name, is_part in parts.items()},
    }


def _score(rows: pa.Table, options: Mapping[str, Any]) -> dict[str, Any]:
    if not len(rows):
        return {"num_rows": 0}
    numbers = [_numbers_of(rows, metric) for metric in METRICS]
    scores = bootstrap(METRICS, numbers, _images_of(rows), **options)
    for metric in _with_baseline():
        scores[f"{BASELINE}{metric.name}"] = metric.score(_numbers_of(rows, metric, BASELINE))
    return {"num_rows": len(rows), **{name: round(value, 4) for name, value in scores.items()}}


def summarize_answers(predictions: pa.Table, is_shown: pa.ChunkedArray, confidence: float) -> Answers:
    """Which questions were answered right, of the rows that `is_shown` selects, to compare models.

    Questions are the same if their ids, texts and references are.
    """
    rows = predictions.filter(is_shown)
    asked = json.dumps(rows.select(["id", "question", "reference"]).to_pydict())
    correct = (rows["exact_match"].to_numpy() == 1).astype(int)
    _, clusters = np.unique(np.array(_images_of(rows), dtype=object).astype(str), return_inverse=True)
    return Answers(hashlib.sha256(asked.encode()).hexdigest(), correct.tolist(), clusters.tolist(), confidence)


def _numbers_of(rows: pa.Table, metric: Metric, prefix: str = "") -> Numbers:
    return np.column_stack([rows[f"{prefix}{name}"].to_numpy() for name in metric.column_names])


def _with_baseline() -> list[Metric]:
    return [metric for metric in METRICS if metric.has_baseline]


def _columns_of(metrics: Sequence[Metric]) -> list[str]:
    return [name for metric in metrics for name in metric.column_names]


def _images_of(rows: pa.Table) -> list[str]:
    """The keys of the bootstrap's groups: rows on the same images are one group, a row without an image is its own."""
    columns = (rows[name].to_pylist() for name in ("source", "image_ids", "id"))
    return [
        "\n".join((source, *sorted(image_ids))) if image_ids else row_id
        for source, image_ids, row_id in zip(*columns, strict=True)
    ]
