"""Stage evaluate: answer the evaluation splits of the sources greedily, keep every answer, and score them.

Several devices take whole batches in turn: padding, and with it an answer, depends on the other rows of the batch.
Benchmarks belong to the stage transfer.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openmedq import paths
from openmedq.config import Evaluate, Params
from openmedq.datasets import catalogue
from openmedq.datasets.card import Access
from openmedq.evaluation import generate
from openmedq.evaluation.metrics.baseline import MostFrequentAnswer
from openmedq.evaluation.metrics.metric import select_headline, tabulate
from openmedq.evaluation.metrics.predictions import (
    describe_answer,
    prediction_schema,
    score_predictions,
    summarize_answers,
)
from openmedq.schema import Role, Sample
from openmedq.storage.progress import Log, progress
from openmedq.storage.publish import publish
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_index
from openmedq.training import devices
from openmedq.training.devices import Devices

Record = dict[str, Any]

PREDICTIONS = paths.EVALUATION / "predictions.parquet"
METRICS = paths.EVALUATION / "metrics.json"


def run(params: Params, log: Log) -> None:
    """Write predictions.parquet and metrics.json to data/evaluation, and log the final scores and answers."""
    settings = params.evaluate
    index, store = read_index(), ShardStore(paths.SAMPLES)
    available = _find_evaluation_rows(index)
    asked = _draw(available, settings.max_rows, settings.seed)
    own = devices.join(params.execution.device)
    answers = _answer(store, asked, settings, own)
    if not own.is_main:
        return
    training = _Training(store, index, asked)
    texts = store.take(asked, with_images=False)
    records = [_describe(sample, answer, training) for sample, answer in zip(texts, answers, strict=True)]
    predictions = pa.Table.from_pylist(records, prediction_schema())
    metrics = score_predictions(
        predictions,
        Counter(available["source"].to_pylist()),
        num_resamples=settings.num_resamples,
        confidence=settings.confidence,
        seed=settings.seed,
    )
    with publish(PREDICTIONS) as path:
        pq.write_table(predictions, path, compression="zstd")
    with publish(METRICS) as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    log(select_headline(metrics), None)
    log.table("scores", tabulate(metrics))
    if pc.any(is_shown := pc.not_equal(asked["access"], Access.CREDENTIALED)).as_py():
        log.answers(summarize_answers(predictions, is_shown, settings.confidence))


def _find_evaluation_rows(index: pa.Table) -> pa.Table:
    """The sources' evaluation rows, in the order of the index."""
    cards = catalogue.read(paths.CATALOGUE)
    sources = pa.array([name for name, card in cards.items() if card.kind == "source"], pa.string())
    is_asked = pc.and_(pc.equal(index["role"], Role.EVALUATION.value), pc.is_in(index["source"], sources))
    return index.filter(is_asked)


def _draw(rows: pa.Table, max_rows: int | None, seed: int) -> pa.Table:
    """Draw at most `max_rows` rows of each source by ids and seed; the order of the rows is kept."""
    if max_rows is None:
        return rows
    drawn: list[str] = []
    for source in rows["source"].unique().to_pylist():
        ids = sorted(rows.filter(pc.equal(rows["source"], source))["id"].to_pylist())
        drawn += random.Random(f"{seed} {source}").sample(ids, min(max_rows, len(ids)))
    return rows.filter(pc.is_in(rows["id"], pa.array(drawn, pa.string())))


def _answer(store: ShardStore, asked: pa.Table, settings: Evaluate, own: Devices) -> list[str]:
    """Return the answers to all rows, in their order; each device answers some of the batches."""
    if not len(asked):
        return []
    batches = np.arange(len(asked)) // settings.batch_size
    mine = np.flatnonzero(batches % own.num == own.rank)
    answer = generate.load_answerer(
        paths.MODEL, device=own.device, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size
    )
    written = []
    with progress("answering", len(mine)) as advance:
        for text in answer(store.take(asked.take(mine))):
            written.append(text)
            advance(1)
    everything = dict(pair for part in own.collect(list(zip(mine.tolist(), written, strict=True))) for pair in part)
    return [everything[row] for row in range(len(asked))]


def _describe(sample: Sample, answer: str, training: _Training) -> Record:
    """One row of predictions.parquet."""
    baseline = training.baseline.answer(sample.source, sample.turns[-1].question)
    return describe_answer(sample, answer, is_image_new=training.is_image_new(sample.id), baseline_answer=baseline)


class _Training:
    """What the training rows have in common with the evaluated rows: shared images, and the majority baseline."""

    def __init__(self, store: ShardStore, index: pa.Table, asked: pa.Table) -> None:
        self._images: dict[str, list[str]] = {}  # id of an evaluated row -> hashes of the pixels of its images
        questions: set[str] = set()
        for group in store.scan_index(asked, ["id", _PIXELS, _QUESTIONS]):
            rows = group.rows
            shown = pc.list_flatten(rows["images"])
            parents = pc.list_parent_indices(rows["images"])
            ids = rows["id"].to_pylist()
            self._images.update((row_id, []) for row_id in ids)
            for parent, pixels in zip(parents.to_pylist(), _field(shown, "pixels_sha256"), strict=True):
                self._images[ids[parent]].append(pixels)
            questions.update(_field(pc.list_flatten(rows["turns"]), "question"))
        self.baseline = MostFrequentAnswer(questions)
        self._shown = self._read_training(store, index.filter(pc.equal(index["role"], Role.TRAIN.value)), asked)

    def is_image_new(self, row_id: str) -> bool | None:
        """Return whether the images of the row are not in the training rows; None if the row has no image.

        Copies with other pixels need no check: `deduplicate` excludes training rows that show an evaluation image of
        another dataset, and within a dataset an image is one file.
        """
        images = self._images[row_id]
        return self._shown.isdisjoint(images) if images else None

    def _read_training(self, store: ShardStore, rows: pa.Table, asked: pa.Table) -> set[str]:
        """Return the evaluated images that training rows also have; count the baseline's answers."""
        wanted = {pixels for images in self._images.values() for pixels in images}
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
