"""Stage evaluate: answer the evaluation splits of the sources greedily, keep every answer, and score them.

The controls answer the same questions again; see `controls`. Several devices take whole windows of rows in turn, so
that the batches, on which rounding depends, are those of one device. Benchmarks are classified zero-shot; the stage
transfer fine-tunes on them.
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openmedq import paths
from openmedq.config import Evaluate, Params
from openmedq.datasets import catalogue
from openmedq.datasets.card import Access
from openmedq.evaluation import controls, generate, likelihood, zero_shot
from openmedq.evaluation.controls import CONTROL_SCHEMA, Read, score_controls
from openmedq.evaluation.generate import Answer
from openmedq.evaluation.likelihood import Scorer
from openmedq.evaluation.metrics.answers import exact_match
from openmedq.evaluation.metrics.baseline import MostFrequentAnswer
from openmedq.evaluation.metrics.calibration import calibrate
from openmedq.evaluation.metrics.intervals import number_groups
from openmedq.evaluation.metrics.metric import select_headline, tabulate
from openmedq.evaluation.metrics.predictions import (
    NOT_CHECKED,
    describe_answer,
    images_of,
    prediction_schema,
    score_predictions,
)
from openmedq.schema import Role, Sample
from openmedq.storage.progress import Answers, Log, progress
from openmedq.storage.publish import publish
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_clean, read_index, write_table
from openmedq.training import devices
from openmedq.training.devices import Devices

PREDICTIONS = paths.EVALUATION / "predictions.parquet"
CONTROLS = paths.EVALUATION / "controls.parquet"
ZERO_SHOT = paths.EVALUATION / "zero_shot.parquet"
METRICS = paths.EVALUATION / "metrics.json"


def run(params: Params, log: Log) -> None:
    """Write predictions.parquet, controls.parquet, zero_shot.parquet and metrics.json to data/evaluation.

    The final scores and answers are logged.
    """
    settings = params.evaluate
    index, store = read_index(), ShardStore(paths.SAMPLES)
    available = find_rows(index)
    asked = _draw(available, settings.max_rows, settings.seed)
    own = devices.join(params.execution.device)
    scorer = Scorer(paths.MODEL, own.device, settings.batch_size)
    sees_images = params.train.with_images  # else no image, as in training, and no control
    texts: Sequence[Sample] = store.take(asked, with_images=False)
    read: Read = store.take(asked).__getitem__
    if not sees_images:
        texts = list(map(controls.change("no_image", texts), range(len(texts))))
        read = texts.__getitem__
    answers = _answer(read, len(asked), "answering", scorer, settings, own)
    with_images = asked.filter(pc.greater(asked["num_images"], 0))
    drawn = _draw(with_images, settings.control_rows, settings.seed)
    control_answers = CONTROL_SCHEMA.empty_table()
    for control, rows, shown in controls.iterate(settings.controls if sees_images else (), store, drawn, settings.seed):
        words = [each.text for each in _answer(shown, len(rows), f"control {control}", scorer, settings, own)]
        given = pa.table([[control] * len(rows), rows["id"], words], CONTROL_SCHEMA)
        control_answers = pa.concat_tables([control_answers, given])
    likelihoods = likelihood.measure(scorer, texts, read, own)
    cards = catalogue.read(paths.CATALOGUE)
    classified, zero_shot_scores = zero_shot.classify(scorer, cards, index, params, own)
    if not own.is_main:
        return
    predictions = _describe(store, index, asked, answers, likelihoods)
    drawing: dict[str, Any] = {name: getattr(settings, name) for name in ("num_resamples", "confidence", "seed")}
    metrics = score_predictions(predictions, Counter(available["source"].to_pylist()), **drawing)
    metrics["controls"] = score_controls(predictions, control_answers, **drawing)
    metrics |= {"calibration": calibrate(predictions), "zero_shot": zero_shot_scores}
    for target, table in ((PREDICTIONS, predictions), (CONTROLS, control_answers), (ZERO_SHOT, classified)):
        with publish(target) as path:
            write_table(table, path)
    with publish(METRICS) as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    log(select_headline(metrics), None)
    log.table("scores", tabulate(metrics))
    if pc.any(is_shown := pc.not_equal(asked["access"], Access.CREDENTIALED)).as_py():
        log.answers(_summarize(predictions.filter(is_shown), settings.confidence))


def find_rows(index: pa.Table) -> pa.Table:
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


def _answer(read: Read, num_rows: int, label: str, scorer: Scorer, settings: Evaluate, own: Devices) -> list[Answer]:
    """Return the answers to all rows, in their order; each device answers some of the windows."""
    if not num_rows:
        return []
    limits = {"max_new_tokens": settings.max_new_tokens, "batch_size": settings.batch_size}
    answer = generate.make_answerer(scorer.model, scorer.processor, **limits)
    windows = np.arange(num_rows) // generate.count_window_rows(settings.batch_size)
    mine = np.flatnonzero(windows % own.num == own.rank).tolist()
    written = []
    with progress(label, len(mine)) as advance:
        for each in answer(map(read, mine)):
            written.append(each)
            advance(1)
    everything = dict(pair for part in own.collect(list(zip(mine, written, strict=True))) for pair in part)
    return [everything[place] for place in range(num_rows)]


def _describe(
    store: ShardStore,
    index: pa.Table,
    asked: pa.Table,
    answers: Sequence[Answer],
    likelihoods: Sequence[dict[str, Any]],
) -> pa.Table:
    """The rows of predictions.parquet."""
    baseline = _count_training_answers(store, index, asked)
    clean = read_clean()
    contamination = dict(zip(clean["id"].to_pylist(), clean["reason"].to_pylist(), strict=True))
    records = []
    for sample, answer, columns in zip(store.take(asked, with_images=False), answers, likelihoods, strict=True):
        own = {
            **answer._asdict(),
            **columns,
            "contamination": contamination.get(sample.id, NOT_CHECKED),
            "baseline_answer": baseline.answer(sample.source, sample.turns[-1].question),
            "majority_answer": baseline.answer_of_source(sample.source),
        }
        records.append(describe_answer(sample, own.pop("text"), **own))
    return pa.Table.from_pylist(records, prediction_schema())


def _summarize(predictions: pa.Table, confidence: float) -> Answers:
    """Which questions were answered right, to compare models.

    Questions are the same if their ids, texts and references are.
    """
    asked = predictions.select(["id", "question", "reference"]).to_pydict()
    texts = zip(*(predictions[name].to_pylist() for name in ("answer", "reference", "alternatives")), strict=True)
    correct = [int(exact_match(answer, (reference, *others))) for answer, reference, others in texts]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    return Answers(digest, correct, number_groups(images_of(predictions)).tolist(), confidence)


def _count_training_answers(store: ShardStore, index: pa.Table, asked: pa.Table) -> MostFrequentAnswer:
    """Count the answers of the training rows of the evaluated tasks."""
    baseline = MostFrequentAnswer(question for _, question, _ in _read_turns(store, asked))
    tasks = asked["task"].unique()
    trained = index.filter(pc.and_(pc.equal(index["role"], Role.TRAIN.value), pc.is_in(index["task"], tasks)))
    for source, question, answer in _read_turns(store, trained):
        baseline.add(source, question, answer)
    return baseline


def _read_turns(store: ShardStore, rows: pa.Table) -> Iterator[tuple[str, str, str]]:
    """Source, question and answer of each turn."""
    for group in store.scan_index(rows, ["turns.list.element.question", "turns.list.element.answer"]):
        for turn in pc.list_flatten(group.rows["turns"]).to_pylist():
            yield group.source, turn["question"], turn["answer"]
