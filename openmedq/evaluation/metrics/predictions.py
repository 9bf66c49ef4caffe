"""The predictions table and its scores: `score_predictions(read_table("predictions.parquet"))` needs no model.

A row holds what was asked, wanted and answered, the numbers that its scores are made of, and the way back to the
published record with its licence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openmedq.evaluation.metrics.answers import normalize_answer
from openmedq.evaluation.metrics.scores import AnswerStatistics, score_answers

OPEN, CLOSED = "open", "closed"

PREDICTION_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), False),
        pa.field("source", pa.string(), False),
        pa.field("split", pa.string(), False),
        pa.field("task", pa.string(), False),
        pa.field("question", pa.string(), False),
        pa.field("options", pa.list_(pa.string()), False),
        pa.field("reference", pa.string(), False),
        pa.field("alternatives", pa.list_(pa.string()), False),
        pa.field("answer", pa.string(), False),
        pa.field("answer_type", pa.string(), False),  # open or closed
        pa.field("image_ids", pa.list_(pa.string()), False),
        pa.field("is_picture_new", pa.bool_()),  # no training row shows the same pixels; null without a picture
        pa.field("num_matches", pa.int32(), False),  # this and the next two: see metrics.bleu.UnigramCounts
        pa.field("num_answer_tokens", pa.int32(), False),
        pa.field("num_reference_tokens", pa.int32(), False),
        pa.field("exact_match", pa.float64(), False),  # 0 or 1
        pa.field("token_f1", pa.float64(), False),  # in [0, 1]
        pa.field("baseline_answer", pa.string(), False),  # normalized; see metrics.baseline
        pa.field("baseline_exact_match", pa.float64(), False),
        pa.field("provenance", pa.struct([pa.field("file", pa.string()), pa.field("record", pa.string())]), False),
        pa.field("licence", pa.string(), False),
    ]
)


def answer_type_of(attributes: Mapping[str, str], options: tuple[str, ...], reference: str) -> str:
    """`open` or `closed`: what the record says, else closed where there are options or the reference is yes or no."""
    said = attributes.get("answer_type", "").strip().lower()
    if said in (OPEN, CLOSED):
        return said
    return CLOSED if options or normalize_answer(reference) in ("yes", "no") else OPEN


def score_predictions(
    predictions: pa.Table,
    num_available: Mapping[str, int],
    *,
    num_resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """`{"all": scores, "<source>": scores, ...}`, sources by id; values are rounded to 4 decimals.

    Scores are `num_rows` of `num_available`, the metrics with `_low` and `_high` (intervals clustered by picture), and
    `baseline_exact_match`; below `open`, `closed` and `new_pictures` the same of a part. No rows, no scores.
    `all` says which `confidence` the intervals have.
    """
    options = {"num_resamples": num_resamples, "confidence": confidence, "seed": seed}
    metrics = {"all": _score_with_parts(predictions, sum(num_available.values()), options) | {"confidence": confidence}}
    for source in sorted(num_available):
        rows = predictions.filter(pc.equal(predictions["source"], source))
        metrics[source] = _score_with_parts(rows, num_available[source], options)
    return metrics


def _score_with_parts(rows: pa.Table, num_available: int, options: Mapping[str, Any]) -> dict[str, Any]:
    parts = {
        OPEN: pc.equal(rows["answer_type"], OPEN),
        CLOSED: pc.equal(rows["answer_type"], CLOSED),
        "new_pictures": pc.fill_null(rows["is_picture_new"], False),
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
    columns: list[NDArray[Any]] = [rows[name].to_numpy() for name in AnswerStatistics._fields]
    scores = score_answers(np.column_stack(columns).astype(np.float64), _pictures_of(rows), **options)
    scores["baseline_exact_match"] = 100 * pc.mean(rows["baseline_exact_match"]).as_py()
    return {"num_rows": len(rows), **{name: round(value, 4) for name, value in scores.items()}}


def _pictures_of(rows: pa.Table) -> list[str]:
    """What is drawn together in the bootstrap: the rows on the same pictures; a row without one stands for itself."""
    columns = (rows[name].to_pylist() for name in ("source", "image_ids", "id"))
    return [
        "\n".join((source, *sorted(image_ids))) if image_ids else row_id
        for source, image_ids, row_id in zip(*columns, strict=True)
    ]
