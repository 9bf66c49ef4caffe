"""`score`: the scores of any system's answers to the questions of a dataset, without a model and without a run."""

import json as json_format
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

from openmedq.datasets import registry
from openmedq.errors import ParamsError, SourceError, StaleError
from openmedq.evaluation.answer_files import match, read_answers
from openmedq.evaluation.metrics.choices import read_answer
from openmedq.evaluation.metrics.metric import CLOSED, OPEN
from openmedq.evaluation.metrics.predictions import (
    CLEAN,
    GROUPINGS,
    NOT_CHECKED,
    describe_answer,
    prediction_schema,
    score_predictions,
)
from openmedq.evaluation.questions import scan
from openmedq.evaluation.terminal import format_difference, format_score, make_table
from openmedq.schema import CLEAN_SCHEMA, Rejected, Sample
from openmedq.storage.publish import replacing
from openmedq.storage.tables import read_table, write_table

NUM_NAMED = 5  # ids in a line


def run(
    file: Path,
    dataset_id: str,
    raw: Path | None,
    clean: Path | None,
    output: Path | None,
    resamples: int,
    json: bool,
) -> None:
    """Print the scores of the answers in `file`, and write the rows of predictions.parquet to `output`.

    Questions without an answer are counted and named, and not scored. `clean` is clean.parquet of the stage
    `deduplicate`: which questions have a copy in the training data of the system.

    Raises:
        ParamsError: `output` is not the name of a Parquet file.
        SourceError: a file can't be read, or none of its rows belongs to a question of the dataset.
    """
    if output is not None and (output.suffix != ".parquet" or output.is_dir()):
        raise ParamsError(f"--output {output}: give the name of a .parquet file")
    answers = read_answers(file)
    try:
        copies = read_table(clean, CLEAN_SCHEMA) if clean is not None else CLEAN_SCHEMA.empty_table()
    except StaleError:
        raise SourceError(f"--clean {clean}: not a clean.parquet; give the one that `deduplicate` wrote") from None
    contamination = dict(zip(copies["id"].to_pylist(), copies["reason"].to_pylist(), strict=True))
    samples: dict[str, Sample] = {}
    rejected: Counter[str] = Counter()
    for item in scan(dataset_id, raw):
        if isinstance(item, Rejected):
            rejected[str(item.reason)] += 1
        else:  # without the bytes of its images
            samples[item.id] = replace(item, images=tuple(replace(image, data=None) for image in item.images))
    if not samples:
        raise SourceError(f"{raw or dataset_id}: no question can be read: {_list(rejected)}; complete the folder")
    if clean is not None and contamination.keys().isdisjoint(samples):
        raise SourceError(f"{clean}: has no question of {dataset_id}; `dvc repro deduplicate` writes one that has")
    matched, is_credentialed = match(answers, samples), registry.load(dataset_id).card.is_credentialed
    if not matched.answers:
        example = f"{dataset_id}/..." if is_credentialed else next(iter(samples))
        raise SourceError(f"{file}: no row belongs to a question of {dataset_id}, whose ids are like {example}")
    rows = [
        describe_answer(
            sample, read_answer(matched.answers[name], sample), contamination=contamination.get(name, NOT_CHECKED)
        )
        for name, sample in samples.items()
        if name in matched.answers
    ]
    predictions = pa.Table.from_pylist(rows, prediction_schema())
    scores = score_predictions(
        predictions, {dataset_id: len(samples)}, num_resamples=resamples, confidence=0.95, seed=0
    )
    if output is not None:
        with replacing(output) as unfinished:
            write_table(predictions, unfinished)
    faults = {
        "missing": [name for name in samples if name not in matched.answers],
        "duplicate": matched.duplicate,
        "unknown": matched.unknown,
    }
    counts = {"scored": len(matched.answers), "questions": len(samples)}
    counts |= {fault: len(names) for fault, names in faults.items()}
    counts |= {"empty": matched.num_empty, "not_readable": rejected.total()}
    if is_credentialed:
        faults["missing"] = []  # the others are names in the user's file
    console = Console(markup=False, highlight=False)
    for line in describe_counts(counts, dataset_id, faults, rejected):
        console.print(line)
    show(console, scores, dataset_id)
    if json:
        print(json_format.dumps({"counts": counts, **scores}))


def describe_counts(
    counts: Mapping[str, int], dataset_id: str, names: Mapping[str, Sequence[str]], rejected: Counter[str]
) -> list[str]:
    """One line for the scored rows and one for each fault, with the first of its `names`."""
    faults = {
        "missing": "no answer, not scored",
        "duplicate": "answered again, only the first answer counts",
        "unknown": "not a question of the evaluation splits, ignored",
        "empty": "empty answers, scored as wrong",
    }
    lines = [f"{dataset_id}: {counts['scored']:,} of {counts['questions']:,} questions have an answer and are scored"]
    for fault, text in faults.items():
        if counts[fault]:
            shown = names.get(fault, ())
            more = ", ..." if len(shown) > NUM_NAMED else ""
            lines.append(f"{text}: {counts[fault]:,}" + (f" ({', '.join(shown[:NUM_NAMED])}{more})" if shown else ""))
    if rejected:
        lines.append(f"records of the evaluation splits that are not questions: {_list(rejected)}")
    return lines


def _list(rejected: Counter[str]) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in sorted(rejected.items()))


def show(console: Console, scores: dict[str, Any], dataset_id: str) -> None:
    """Print all metrics for all rows, open and closed ones, and the headline metrics of clean rows and by group."""
    own = scores[dataset_id]
    parts = [("all", own), *((name, own[name]) for name in (OPEN, CLOSED) if own[name]["num_rows"])]
    table = make_table("Scores, percent", "metric", *(f"{name}\n{part['num_rows']:,} rows" for name, part in parts))
    for metric in scores["metrics"]:
        if any(metric["name"] in part for _, part in parts):  # not multiple choice where no question has options
            table.add_row(metric["title"], *(format_score(part, metric["name"]) for _, part in parts))
    console.print(table)
    headline = [metric for metric in scores["metrics"] if metric["is_headline"]]
    if clean := own[CLEAN]["num_rows"]:
        table = make_table("Questions without a copy in training", "metric", f"{clean:,} rows", "difference to all")
        for each in headline:
            difference = format_difference(own, f"difference_{CLEAN}_{each['name']}")
            table.add_row(each["title"], format_score(own[CLEAN], each["name"]), difference)
        console.print(table)
    for name in GROUPINGS:
        groups = own.get(name, {})
        if len(groups) < 2:
            continue
        table = make_table(f"By {name.replace('_', ' ')}", "group", "rows", *(each["title"] for each in headline))
        for value, part in sorted(groups.items(), key=lambda group: -group[1]["num_rows"]):
            table.add_row(value, f"{part['num_rows']:,}", *(format_score(part, each["name"]) for each in headline))
        console.print(table)
