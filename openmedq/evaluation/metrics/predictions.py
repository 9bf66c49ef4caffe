"""The table predictions.parquet and its scores, which need no model.

A row has the question, the references, the answer, columns to group rows by, and the provenance and licence of the
published record. It has no score: the metrics are computed from the texts.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openmedq.evaluation.metrics import METRICS
from openmedq.evaluation.metrics.answers import normalize_answer
from openmedq.evaluation.metrics.choices import CHOICES
from openmedq.evaluation.metrics.intervals import (
    bound,
    number_groups,
    place,
    resample,
    score_all,
    score_draws,
    sum_by_group,
)
from openmedq.evaluation.metrics.metric import CLOSED, OPEN, Metric, Numbers, describe, measure_rows
from openmedq.schema import Sample

# Baselines without a model: the prefix of their scores, and the column of their answers; see metrics.baseline.
BASELINES = {"baseline_": "baseline_answer", "majority_": "majority_answer"}
CLEAN = "clean"  # the rows that no training row repeats
NOT_CHECKED = "not checked"  # a value of the column `contamination`

# Columns that rows are grouped by. Each takes its value from the first of these attributes that the record has.
GROUPINGS = {
    "question_type": ("question_type", "content_type", "category"),
    "organ": ("image_organ", "location"),
    "modality": ("modality", "modality_type"),
}


def prediction_schema() -> pa.Schema:
    """The columns of predictions.parquet."""
    return pa.schema(
        [
            *(pa.field(name, pa.string(), False) for name in ("id", "source", "split", "task", "question")),
            pa.field("options", pa.list_(pa.string()), False),
            pa.field("reference", pa.string(), False),
            pa.field("alternatives", pa.list_(pa.string()), False),  # other accepted answers
            pa.field("answer", pa.string(), False),
            pa.field("answer_type", pa.string(), False),  # open or closed
            *(pa.field(name, pa.string()) for name in GROUPINGS),  # as the record states it; null if it does not
            pa.field("image_ids", pa.list_(pa.string()), False),
            pa.field("contamination", pa.string()),  # tier of the copy that is trained on, or "not checked"; null: none
            # Of the trained model; null for another system. See evaluation/generate.py and likelihood.py.
            pa.field("num_tokens", pa.int32()),  # of the answer, without its end
            pa.field("stop", pa.string()),  # end or length
            pa.field("is_cut", pa.bool_()),  # the prompt did not fit and was shortened
            pa.field("probability", pa.float32()),  # of the answer
            pa.field("option_log_probs", pa.list_(pa.float32())),  # of each option; null without options
            pa.field("option_num_tokens", pa.list_(pa.int32())),
            pa.field("yes_no_log_probs", pa.list_(pa.float32())),  # of yes and of no; null for other questions
            # Normalized training answers, see metrics.baseline; null for another system.
            pa.field("baseline_answer", pa.string()),  # the most frequent one to the question
            pa.field("majority_answer", pa.string()),  # the most frequent one of the source
            pa.field("provenance", pa.struct([pa.field(name, pa.string()) for name in ("file", "record")]), False),
            pa.field("licence", pa.string(), False),
        ]
    )


def describe_answer(sample: Sample, answer: str, *, contamination: str | None, **own: Any) -> dict[str, Any]:
    """One row of predictions.parquet: the answer to the last question of a sample.

    `own` are the columns that only the stage evaluate fills.
    """
    turn, given = sample.turns[-1], sample.attributes
    groupings = {name: next(filter(None, map(given.get, keys)), None) for name, keys in GROUPINGS.items()}
    return {
        "id": sample.id,
        "source": sample.source,
        "split": sample.split,
        "task": str(sample.task),
        "question": turn.question,
        "options": list(turn.options),
        "reference": turn.answer,
        "alternatives": list(turn.alternatives),
        "answer": answer,
        "answer_type": answer_type_of(given, turn.options, turn.answer),
        **groupings,
        "image_ids": [image.image_id for image in sample.images],
        "contamination": contamination,
        **own,
        "provenance": {"file": sample.provenance.file, "record": sample.provenance.record},
        "licence": sample.licence,
    }


def answer_type_of(attributes: Mapping[str, str], options: tuple[str, ...], reference: str) -> str:
    """`open` or `closed`, as the record states; otherwise closed if there are options or the reference is yes or no."""
    stated = attributes.get("answer_type", "").strip().lower()
    if stated in (OPEN, CLOSED):
        return stated
    return CLOSED if options or normalize_answer(reference) in ("yes", "no") else OPEN


class Part(NamedTuple):
    """Sums over the rows of a part, then over the rows of each resample; see `resample`."""

    num_rows: int
    draws: Numbers  # (1 + resamples, K)


class Scorer:
    """Scores of parts of a table of predictions. The sums of each row are computed once."""

    def __init__(
        self, rows: pa.Table, metrics: Sequence[Metric] = METRICS, *, num_resamples: int, confidence: float, seed: int
    ) -> None:
        self._metrics = metrics
        self._baselines = [
            replace(metric, name=f"{prefix}{metric.name}", scores=column, is_headline=False)
            for prefix, column in BASELINES.items()
            for metric in metrics
            if metric.has_baseline
        ]
        self._rows, everything = rows, [*metrics, *self._baselines]
        self._sums, self._columns = measure(rows, everything)
        variants = [own for metric, own in zip(everything, self._columns, strict=True) if metric.is_variant]
        self._of_variants = np.r_[*variants] if variants else []
        self._num_resamples, self._confidence, self._seed = num_resamples, confidence, seed

    def cut(self, source: str, parts: Mapping[Any, NDArray[np.bool_]]) -> dict[Any, Part]:
        """The parts of one source that have rows. Masks are of all rows. All parts use the same resamples."""
        taken = np.flatnonzero(equal(self._rows["source"], source))
        groups = number_groups(images_of(self._rows.take(taken)))
        masks = {name: mask[taken] for name, mask in parts.items() if mask[taken].any()}
        sums = []
        for name, mask in masks.items():
            part = sum_by_group(self._sums[taken[mask]], groups[mask], int(groups.max()) + 1)
            if isinstance(name, tuple):  # a value of a grouping: variants get no score, as without rows
                part[:, self._of_variants] = 0
            sums.append(part)
        # Seeded by source: its intervals do not depend on other sources, and those of two sources are independent.
        own = int.from_bytes(hashlib.sha256(source.encode()).digest()[:8])
        rng = np.random.default_rng([self._seed, own])
        drawn = resample(sums, self._num_resamples, rng, self._columns) if sums else []
        return {name: Part(int(masks[name].sum()), draws) for name, draws in zip(masks, drawn, strict=True)}

    def score(self, parts: Iterable[Part | None]) -> dict[str, Any]:
        """Scores of parts of different sources together, rounded to 4 decimals."""
        found = [part for part in parts if part is not None]
        if not found:
            return {"num_rows": 0}
        draws, num = _add(found), len(self._metrics)
        scores = score_draws(self._metrics, self._columns[:num], draws, self._confidence)
        scores |= score_draws(self._baselines, self._columns[num:], draws[:1], self._confidence)
        num_rows = sum(part.num_rows for part in found)
        return {"num_rows": num_rows, **{name: round(value, 4) for name, value in scores.items()}}

    def subtract(self, parts: Iterable[Part | None], others: Iterable[Part | None], prefix: str) -> dict[str, float]:
        """`{prefix}{metric}` of each headline metric, with `_low` and `_high`: the score of `parts` minus the others'.

        Both sides use the same resamples of images. A metric that one side lacks is left out.
        """
        sides = [[part for part in side if part is not None] for side in (parts, others)]
        if not all(sides):
            return {}
        ours, theirs = map(_add, sides)
        differences: dict[str, float] = {}
        for metric, own in zip(self._metrics, self._columns, strict=False):
            if metric.is_headline:
                values = score_all(metric, ours[:, own]) - score_all(metric, theirs[:, own])
                differences |= bound(f"{prefix}{metric.name}", values[0], values[1:], self._confidence)
        return {name: round(value, 4) for name, value in differences.items()}


def _add(parts: Iterable[Part]) -> Numbers:
    """Sums over parts of different sources; a number that is NaN in some is in each draw as it is in all rows."""
    draws = [part.draws for part in parts]
    total = reduce(np.add, (np.where(np.isnan(each), each[:1], each) for each in draws))
    return np.where(reduce(np.logical_and, map(np.isnan, draws)), np.nan, total)


def score_predictions(
    predictions: pa.Table,
    num_available: Mapping[str, int],
    *,
    num_resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """`{"metrics": descriptions, "all": scores, "<source>": scores, ...}`, sources by id, values with 4 decimals.

    Scores are `num_rows` of `num_available`, each metric with `_low` and `_high` (intervals clustered by image, images
    drawn within their source), `baseline_<metric>` and `majority_<metric>`; under `open`, `closed` and `clean` the same
    of a part of the rows, and of a source under each of GROUPINGS that its records state, without the variants.
    `difference_clean_<headline metric>` is the score of the clean rows minus that of all. Without rows there are no
    scores. `all` states the `confidence` of the intervals.
    """
    scorer = Scorer(predictions, num_resamples=num_resamples, confidence=confidence, seed=seed)
    parts: dict[str | None, NDArray[np.bool_]] = {
        None: np.ones(len(predictions), dtype=bool),
        OPEN: equal(predictions["answer_type"], OPEN),
        CLOSED: equal(predictions["answer_type"], CLOSED),
        CLEAN: pc.is_null(predictions["contamination"]).to_numpy(),
    }
    groups = {
        (name, value): equal(predictions[name], value)
        for name in GROUPINGS
        for value in sorted(filter(None, predictions[name].unique().to_pylist()))
    }
    cut = {source: scorer.cut(source, {**parts, **groups}) for source in sorted(num_available)}

    def score(sources: Sequence[str]) -> dict[str, Any]:
        whole, *others = (scorer.score(cut[source].get(name) for source in sources) for name in parts)
        num_rows = {"num_rows": whole.pop("num_rows"), "num_available": sum(num_available[name] for name in sources)}
        clean, all_rows = ([cut[source].get(name) for source in sources] for name in (CLEAN, None))
        differences = scorer.subtract(clean, all_rows, f"difference_{CLEAN}_")
        return {**num_rows, **whole, **differences, **dict(zip((OPEN, CLOSED, CLEAN), others, strict=True))}

    metrics: dict[str, Any] = {"metrics": describe(METRICS), "all": score(list(cut)) | {"confidence": confidence}}
    for source, found in cut.items():
        metrics[source] = score([source])
        for name in GROUPINGS:
            if values := {key[1]: scorer.score([part]) for key, part in found.items() if key and key[0] == name}:
                metrics[source][name] = values
    return metrics


def measure(rows: pa.Table, metrics: Sequence[Metric]) -> tuple[Numbers, list[slice]]:
    """The sums of each row, (rows, K), and each metric's columns; null answers and NaN do not count."""
    references = (rows[name].to_pylist() for name in ("reference", "alternatives"))
    accepted = [(reference, *others) for reference, others in zip(*references, strict=True)]
    parts: dict[str, tuple[Numbers, NDArray[Any]]] = {}
    for name in dict.fromkeys(metric.scores for metric in metrics):
        texts = CHOICES[name](rows) if name in CHOICES else rows[name].to_pylist()
        is_given = np.array([text is not None for text in texts], dtype=bool)
        pairs = [("", ("",)) if text is None else (text, each) for text, each in zip(texts, accepted, strict=True)]
        own = [metric for metric in metrics if metric.scores == name]
        for metric, measured in zip(own, measure_rows(own, pairs), strict=True):
            kind = metric.answer_type
            counts = (is_given & ~np.isnan(measured).any(axis=1))[:, None]
            counts &= True if kind is None else equal(rows["answer_type"], kind)[:, None]
            parts[metric.name] = np.where(counts, measured, 0), counts
    ordered = [parts[metric.name] for metric in metrics]
    columns = [np.zeros((len(rows), 0)), *(part for pair in ordered for part in pair)]
    return np.hstack(columns), place([measured for measured, _ in ordered])


def equal(column: pa.ChunkedArray, value: str) -> NDArray[np.bool_]:
    """Which values of a column of texts equal the given one."""
    mask: NDArray[np.bool_] = pc.fill_null(pc.equal(column, value), False).to_numpy()
    return mask


def images_of(rows: pa.Table) -> list[str]:
    """The keys of the bootstrap's groups: rows on the same images are one group, a row without an image is its own."""
    columns = (rows[name].to_pylist() for name in ("source", "image_ids", "id"))
    return [
        "\n".join((source, *sorted(image_ids))) if image_ids else row_id
        for source, image_ids, row_id in zip(*columns, strict=True)
    ]
