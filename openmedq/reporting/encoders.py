"""The part of the report about image encoders: the paper's table with this run's figures, and what may be compared.

`describe` selects what is shown; `sections.transfer` puts it into the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from markupsafe import Markup

from openmedq import paths
from openmedq.config import OURS
from openmedq.errors import StaleError
from openmedq.evaluation import encoder_table
from openmedq.evaluation.encoder_table import PREDICTION_SCHEMA
from openmedq.reporting.charts import draw_encoders
from openmedq.reporting.published import BENCHMARK_FIGURES, ENCODERS, FIGURES
from openmedq.reporting.results import DatasetResult, Results, Tree
from openmedq.storage.tables import read_table

METHODS = {
    "fine_tuned": "fine-tuned",
    "linear_probe": "linear probe",
    "knn": "k nearest neighbors",
    "few_shot_10": "10 shots",
    "few_shot_5": "5 shots",
    "few_shot_1": "1 shot",
}
PAPER = "paper"  # name of the rows below ours
LEVEL = 0.05  # of a difference that is printed bold

# Why a figure of the paper may not be held against ours; the letters are in the cells.
GENERATED, UNNAMED, OWN_SPLIT, NOT_RUN, ALIKE = "a", "b", "c", "d", "e"
NOTES = {
    GENERATED: "ours is of a generated miniature: not comparable",
    UNNAMED: "the notes on the paper name four of its eight datasets: not comparable",
    OWN_SPLIT: "the dataset has no published split, and the paper's is not known: not comparable",
    NOT_RUN: "not in this run",
    ALIKE: "the same dataset and metric; the paper's split, threshold and validation are not known",
}


@dataclass(frozen=True)
class Cell:
    """A score with its interval, as texts, and the letter of a note; all may be empty."""

    text: str = ""
    span: str = ""
    note: str = ""
    is_strong: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells under a title; the first column has the names of the rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Section:
    """What the report shows of the encoders."""

    tables: tuple[Table, ...]
    notes: tuple[tuple[str, str], ...]  # (letter, text) of those in the cells
    remarks: tuple[str, ...]
    chart: Markup


def describe(results: Results) -> Section | None:
    """Select what is shown; None if no benchmark has been scored."""
    transfers = list(results.iterate_transfers())
    if not transfers:
        return None
    tables = [_tabulate_paper(results), *_tabulate_metrics(results), _tabulate_methods(results), *_compare(results)]
    used = {cell.note for table in tables for _, cells in table.rows for cell in cells if cell.note}
    rows = [(data.card.title, scores) for data, scores in transfers]
    if len(rows) > 1:
        rows.append(("mean", results.transfer["mean"]))
    first = results.transfer_metrics[0]
    named = [(_name(encoder), encoder) for encoder in results.encoders]
    return Section(
        tables=tuple(table for table in tables if table.rows),
        notes=tuple((letter, text) for letter, text in NOTES.items() if letter in used),
        remarks=tuple(_remark(results)),
        chart=draw_encoders(f"{first['title']} of the encoders by benchmark", first["name"], named, rows),
    )


def _tabulate_paper(results: Results) -> Table:
    """Benchmarks and their mean by encoder: ours, and below them what the paper states."""
    metric = results.transfer_metrics[0]["name"]
    paper = next(figure for figure in FIGURES if figure.source is None)
    names = {name: key for key, name in ENCODERS.items()}
    published = {OURS: paper.value} | {names[name]: value for name, value in paper.others}
    keys = [*results.encoders, *(key for key in published if key not in results.encoders)]
    benchmarks = _list_benchmarks(results)
    rows: list[tuple[str, tuple[Cell, ...]]] = []
    for data in benchmarks:
        scores = results.transfer.get(data.card.id, {})
        stated = BENCHMARK_FIGURES.get(data.card.id, {OURS: "not named"})
        note = _judge(data, is_scored=bool(scores))
        rows.append((data.card.title, tuple(_cell(scores.get(key, {}), metric) for key in keys)))
        rows.append((PAPER, tuple(Cell(stated[key], note=note) if key in stated else Cell() for key in keys)))
    scores, note = results.transfer["mean"], GENERATED if any(data.is_miniature for data in benchmarks) else UNNAMED
    means = {key: Cell(f"{value:.3f}", note=note) for key, value in published.items()}
    rows.append(("Mean", tuple(_cell(scores.get(key, {}), metric) for key in keys)))
    rows.append((PAPER, tuple(means.get(key, Cell()) for key in keys)))
    title = f"{results.transfer_metrics[0]['title']}, fine-tuned, beside the paper"
    return Table(title, tuple(map(_name, keys)), tuple(rows))


def _list_benchmarks(results: Results) -> list[DatasetResult]:
    return [data for data in results.datasets if data.card.kind == "benchmark"]


def _judge(data: DatasetResult, *, is_scored: bool) -> str:
    if not is_scored:
        return NOT_RUN
    if data.is_miniature:
        return GENERATED
    if data.card.id not in BENCHMARK_FIGURES:
        return UNNAMED
    return ALIKE if data.card.fitted else OWN_SPLIT


def _tabulate_metrics(results: Results) -> Iterable[Table]:
    """The other metrics of the fine-tuned encoders."""
    for metric in results.transfer_metrics[1:]:
        rows = [(data.card.title, scores) for data, scores in results.iterate_transfers()]
        rows.append(("Mean", results.transfer["mean"]))
        cells = [
            (title, tuple(_cell(each.get(key, {}), metric["name"]) for key in results.encoders)) for title, each in rows
        ]
        yield Table(f"{metric['title']}, fine-tuned", tuple(map(_name, results.encoders)), tuple(cells))


def _tabulate_methods(results: Results) -> Table:
    """The mean over the benchmarks by method: fine-tuned, and from frozen features."""
    metric, frozen = results.transfer_metrics[0], results.transfer.get("mean_of_frozen", {})
    rows = []
    for method, title in METHODS.items():
        trees = [
            results.transfer["mean"].get(key, {}) if method == "fine_tuned" else frozen.get(key, {}).get(method, {})
            for key in results.encoders
        ]
        if any(trees):
            rows.append((title, tuple(_cell(tree, metric["name"]) for tree in trees)))
    title = f"{metric['title']}, mean over the benchmarks, fine-tuned and from frozen features"
    return Table(title, tuple(map(_name, results.encoders)), tuple(rows) if frozen else ())


def _compare(results: Results) -> Iterable[Table]:
    """Differences to the first encoder, with interval and p, corrected over the benchmarks."""
    tables = dict(_read_predictions(results))
    reference = results.encoders[0]
    if reference not in tables:
        return
    titles = {data.card.id: data.card.title for data in results.datasets}
    for other, compared in encoder_table.compare(tables, reference).items():
        rows = [(titles.get(name, name), _show_difference(each)) for name, each in compared["benchmarks"].items()]
        if "mean" in compared:
            rows.append(("Mean", _show_difference(compared["mean"])))
        yield Table(
            f"Macro-F1, {_name(reference)} minus {_name(other)}",
            ("Difference", "p", "p (Holm)"),
            tuple(rows),
        )


def _show_difference(row: Tree) -> tuple[Cell, ...]:
    span = f"{row['low']:+.3f} to {row['high']:+.3f}" if "low" in row else ""
    is_strong = row.get("p_holm", row["p"]) < LEVEL
    corrected = f"{row['p_holm']:.4f}" if "p_holm" in row else ""
    return Cell(f"{row['difference']:+.3f}", span, is_strong=is_strong), Cell(f"{row['p']:.4f}"), Cell(corrected)


def _read_predictions(results: Results) -> Iterable[tuple[str, pa.Table]]:
    for encoder in results.encoders:
        try:
            table = read_table(paths.TRANSFER / encoder / "predictions.parquet", PREDICTION_SCHEMA)
        except StaleError:  # it has not been written, or by an earlier version
            continue
        if len(table):
            yield encoder, table


def _remark(results: Results) -> Iterable[str]:
    """How to read the tables, and what the scores leave out."""
    if len(results.encoders) > 1:
        yield "p (Holm): corrected for the number of benchmarks; differences with p (Holm) below 0.05 are bold"
    for data, scores in results.iterate_transfers():
        for part in ("train", "test"):
            absent = scores.get(f"classes_without_{part}_rows", ())
            if absent:
                yield f"{data.card.title}: no {part} row has the class {', '.join(absent)}"
    missing = [data.card.title for data in _list_benchmarks(results) if data.card.id not in results.transfer]
    if missing:
        yield f"not in this run: {', '.join(missing)}"


def _cell(scores: Mapping[str, Any], name: str) -> Cell:
    if name not in scores:
        return Cell("–")
    span = f"{scores[f'{name}_low']:.3f}\u2009–\u2009{scores[f'{name}_high']:.3f}" if f"{name}_low" in scores else ""
    return Cell(f"{scores[name]:.3f}", span)


def _name(encoder: str) -> str:
    return ENCODERS.get(encoder, encoder)
