"""Greedy answers to the evaluation splits of the mix, kept row by row, and their scores.

The model is loaded as anyone would load it; how it is asked is said in `vlm/prompt.py`. The classification sets are
`transfer`'s. Scores are functions of the predictions alone: see `metrics/predictions.py`.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openmedq import paths
from openmedq.config import Params
from openmedq.datasets import catalogue
from openmedq.evaluation import generate
from openmedq.evaluation.metrics.answers import exact_match
from openmedq.evaluation.metrics.baseline import MostFrequentAnswer
from openmedq.evaluation.metrics.predictions import PREDICTION_SCHEMA, answer_type_of, score_predictions
from openmedq.evaluation.metrics.scores import compare
from openmedq.schema import Role, Sample
from openmedq.storage.progress import Log, progress
from openmedq.storage.publish import publish
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_index

Record = dict[str, Any]

PREDICTIONS = paths.EVALUATION / "predictions.parquet"
METRICS = paths.EVALUATION / "metrics.json"


def run(params: Params, log: Log) -> None:
    """Write data/evaluation: predictions.parquet (PREDICTION_SCHEMA) and metrics.json; log the final scores."""
    dials = params.evaluate
    index, store = read_index(), ShardStore(paths.SAMPLES)
    available = _find_evaluation_rows(index)
    asked = _draw(available, dials.max_rows, dials.seed)
    training = _Training(store, index, asked)
    records = []
    if len(asked):
        samples = store.take(asked)
        answers = generate.load_answerer(
            paths.MODEL,
            device=params.execution.device,
            max_new_tokens=dials.max_new_tokens,
            batch_size=dials.batch_size,
        )
        with progress("answering", len(samples)) as advance:
            texts = store.take(asked, with_pictures=False)
            for sample, answer in zip(texts, answers(samples), strict=True):
                records.append(_describe(sample, answer, training))
                advance(1)
    predictions = pa.Table.from_pylist(records, PREDICTION_SCHEMA)
    metrics = score_predictions(
        predictions,
        Counter(available["source"].to_pylist()),
        num_resamples=dials.num_resamples,
        confidence=dials.confidence,
        seed=dials.seed,
    )
    with publish(PREDICTIONS) as path:
        pq.write_table(predictions, path, compression="zstd")
    with publish(METRICS) as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    log(_flatten(metrics), None)


def _find_evaluation_rows(index: pa.Table) -> pa.Table:
    """The rows of evaluation splits of sources, in the mix's order; benchmarks are not asked in words."""
    sets = catalogue.read(paths.CATALOGUE)
    sources = pa.array([name for name, card in sets.items() if card.kind == "source"], pa.string())
    is_asked = pc.and_(pc.equal(index["role"], Role.EVALUATION.value), pc.is_in(index["source"], sources))
    return index.filter(is_asked)


def _draw(rows: pa.Table, max_rows: int | None, seed: int) -> pa.Table:
    """At most `max_rows` rows of each source, in the mix's order; which, depends on ids and seed alone."""
    if max_rows is None:
        return rows
    drawn: list[str] = []
    for source in rows["source"].unique().to_pylist():
        ids = sorted(rows.filter(pc.equal(rows["source"], source))["id"].to_pylist())
        drawn += random.Random(f"{seed} {source}").sample(ids, min(max_rows, len(ids)))
    return rows.filter(pc.is_in(rows["id"], pa.array(drawn, pa.string())))


def _describe(sample: Sample, answer: str, training: _Training) -> Record:
    """One row of PREDICTION_SCHEMA."""
    turn = sample.turns[-1]
    baseline = training.baseline.answer(sample.source, turn.question)
    accepted = (turn.answer, *turn.alternatives)
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
        "answer_type": answer_type_of(sample.attributes, turn.options, turn.answer),
        "image_ids": [image.image_id for image in sample.images],
        "is_picture_new": training.is_picture_new(sample.id),
        **compare(answer, turn.answer, turn.alternatives)._asdict(),
        "baseline_answer": baseline,
        "baseline_exact_match": exact_match(baseline, accepted),
        "provenance": {"file": sample.provenance.file, "record": sample.provenance.record},
        "licence": sample.licence,
    }


class _Training:
    """What training knew of the asked rows: which of their pictures it showed, and its answers to their questions."""

    def __init__(self, store: ShardStore, index: pa.Table, asked: pa.Table) -> None:
        """Read the columns that matter of the training rows and the asked rows; no picture."""
        self._pictures: dict[str, list[str]] = {}  # id of an asked row -> its pictures, by decoded pixels
        questions: set[str] = set()
        for group in store.scan_index(asked, ["id", _PIXELS, _QUESTIONS]):
            rows = group.rows
            shown = pc.list_flatten(rows["images"])
            parents = pc.list_parent_indices(rows["images"])
            ids = rows["id"].to_pylist()
            self._pictures.update((row_id, []) for row_id in ids)
            for parent, pixels in zip(parents.to_pylist(), _field(shown, "pixels_sha256"), strict=True):
                self._pictures[ids[parent]].append(pixels)
            questions.update(_field(pc.list_flatten(rows["turns"]), "question"))
        self.baseline = MostFrequentAnswer(questions)
        self._shown = self._read_training(store, index.filter(pc.equal(index["role"], Role.TRAIN.value)), asked)

    def is_picture_new(self, row_id: str) -> bool | None:
        """Whether no training row shows a picture of the row, pixel for pixel; None without a picture.

        Re-encoded copies need no care here: `deduplicate` keeps training rows that show what another set's evaluation
        shows out of the mix, and within a set a picture is one file.
        """
        pictures = self._pictures[row_id]
        return self._shown.isdisjoint(pictures) if pictures else None

    def _read_training(self, store: ShardStore, rows: pa.Table, asked: pa.Table) -> set[str]:
        """Pictures of asked rows that training shows. Answers count where their task is asked too: no captions."""
        wanted = {pixels for pictures in self._pictures.values() for pixels in pictures}
        shown: set[str] = set()
        tasks = set(asked["task"].to_pylist())
        for group in store.scan_index(rows, ["task", _PIXELS, _QUESTIONS, _ANSWERS]):
            shown |= wanted.intersection(_field(pc.list_flatten(group.rows["images"]), "pixels_sha256"))
            is_asked = pc.is_in(group.rows["task"], pa.array(tasks, pa.string()))
            turns = pc.list_flatten(group.rows.filter(is_asked)["turns"])
            for question, answer in zip(_field(turns, "question"), _field(turns, "answer"), strict=True):
                self.baseline.add(group.source, question, answer)
        return shown


_PIXELS = "images.list.element.pixels_sha256"
_QUESTIONS = "turns.list.element.question"
_ANSWERS = "turns.list.element.answer"


def _field(structs: pa.StructArray, name: str) -> Sequence[str]:
    values: list[str] = pc.struct_field(structs, name).to_pylist()
    return values


def _flatten(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """`{"vqa_rad": {"bleu_1": 50.0}}` as `{"vqa_rad/bleu_1": 50.0}`."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        flat |= _flatten(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
