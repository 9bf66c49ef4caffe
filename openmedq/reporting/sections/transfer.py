"""Transfer of the encoders to classification datasets, and the figures of the paper beside those of this run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from openmedq import paths
from openmedq.config import OURS
from openmedq.errors import StaleError
from openmedq.evaluation import encoder_table
from openmedq.evaluation.encoder_table import PREDICTION_SCHEMA
from openmedq.reporting.charts import draw_dots, find_point
from openmedq.reporting.document import Block, Cell, Heading, Row, Table, Text, count, score, text
from openmedq.reporting.document import Figure as Chart
from openmedq.reporting.published import BENCHMARK_FIGURES, ENCODERS, FIGURES, NUM_SOURCES, Figure
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
PAPER = "paper"  # heading of the rows below ours
LEVEL = 0.05  # a difference with a smaller p is bold

# Why a figure of the paper can't be compared with ours; the cells refer to the letters.
GENERATED, UNNAMED, OWN_SPLIT, NOT_RUN, ALIKE = "abcde"
NOTES = {
    GENERATED: "ours is of a generated miniature: not comparable",
    UNNAMED: "the notes on the paper name four of its eight datasets: not comparable",
    OWN_SPLIT: "the dataset has no published split, and the paper's is not known: not comparable",
    NOT_RUN: "not in this run",
    ALIKE: "the same dataset and metric; the paper's split, threshold and validation are not known",
}

Titled = tuple[str, Table]  # a table and its heading


def show_transfer(results: Results) -> Iterator[Block]:
    """The encoders of this run and of the paper by dataset, their other scores, and paired differences."""
    rows = [(data.card.title, scores) for data, scores in results.iterate_transfers()]
    if not rows:
        yield Text("No benchmark is among the files of this run.", "")
        return
    yield Text(
        "Image encoders, each fine-tuned by the same recipe on datasets that training never saw, with the weights of "
        "the epoch that has the lowest loss on validation rows. Scores are between 0 and 1 and means over seeds; for "
        "the intervals, patients or images are drawn with all their rows."
    )
    if len(rows) > 1:
        rows.append(("mean", results.transfer["mean"]))
    metric = results.transfer_metrics[0]
    series = [
        (_name(encoder), [find_point(scores.get(encoder, {}), metric["name"]) for _, scores in rows])
        for encoder in results.encoders
    ]
    title = f"{metric['title']} of the encoders by benchmark"
    chart = draw_dots(title, [label for label, _ in rows], series, end=1)
    yield Chart("encoders", "Scores of the encoders by dataset", chart)
    cells: list[Cell] = []
    for title, table in _list_tables(results):
        yield Heading(title)
        yield table
        cells += [cell for row in table.rows for cell in row.cells]
    used = {cell.note for cell in cells}
    yield from (Text(f"Note {letter}: {words}.") for letter, words in NOTES.items() if f"note {letter}" in used)
    yield from (Text(f"{words}.") for words in _remark(results))


def _list_tables(results: Results) -> Iterator[Titled]:
    yield _tabulate_paper(results)
    for metric in results.transfer_metrics[1:]:
        scored = [(data.card.title, scores) for data, scores in results.iterate_transfers()]
        rows = [_score(title, each, metric, results.encoders) for title, each in scored]
        rows.append(_score("Mean", results.transfer["mean"], metric, results.encoders))
        yield _tabulate(f"{metric['title']}, fine-tuned", map(_name, results.encoders), rows)
    if results.transfer.get("mean_of_frozen"):
        yield _tabulate_methods(results)
    yield from _compare_encoders(results)


def _tabulate(title: str, columns: Iterable[str], rows: Sequence[Row]) -> Titled:
    return title, Table(["Dataset", *columns], rows)


def _score(title: str, scores: Tree, metric: Tree, encoders: Iterable[str]) -> Row:
    return Row([text(title), *(score(scores.get(key, {}), metric["name"], 3) for key in encoders)])


def _tabulate_paper(results: Results) -> Titled:
    """Benchmarks and their mean by encoder: ours, and below them what the paper states."""
    metric = results.transfer_metrics[0]
    paper = next(figure for figure in FIGURES if figure.source is None)
    names = {name: key for key, name in ENCODERS.items()}
    means = {OURS: f"{paper.value:.3f}"} | {names[name]: f"{value:.3f}" for name, value in paper.others}
    keys = [*results.encoders, *(key for key in means if key not in results.encoders)]
    benchmarks = _list_benchmarks(results)
    rows: list[Row] = []

    def add(title: str, scores: Tree, stated: dict[str, str] | None, note: str) -> None:
        rows.append(_score(title, scores, metric, keys))
        if stated is None:
            return
        of_paper = (
            Cell(stated[key], f"note {note}", "number") if key in stated else Cell("", "", "number") for key in keys
        )
        rows.append(Row([text(PAPER), *of_paper], is_part=True))

    for data in benchmarks:
        scores = results.transfer.get(data.card.id, {})
        stated = None if data.card.local else BENCHMARK_FIGURES.get(data.card.id, {OURS: "not named"})
        add(data.card.title, scores, stated, _judge(data, is_scored=bool(scores)))
    is_generated = any(data.is_miniature for data in benchmarks)
    add("Mean", results.transfer["mean"], means, GENERATED if is_generated else UNNAMED)
    return _tabulate(f"{metric['title']}, fine-tuned, beside the paper", map(_name, keys), rows)


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


def _tabulate_methods(results: Results) -> Titled:
    """The mean over the benchmarks by method: fine-tuned, and from frozen features."""
    metric, frozen = results.transfer_metrics[0], results.transfer["mean_of_frozen"]
    trees = {method: {key: frozen.get(key, {}).get(method, {}) for key in results.encoders} for method in METHODS}
    trees["fine_tuned"] = results.transfer["mean"]
    rows = [_score(METHODS[name], tree, metric, results.encoders) for name, tree in trees.items() if any(tree.values())]
    title = f"{metric['title']}, mean over the benchmarks, fine-tuned and from frozen features"
    return _tabulate(title, map(_name, results.encoders), rows)


def _compare_encoders(results: Results) -> Iterator[Titled]:
    """Differences to the first encoder, with interval and p, corrected over the benchmarks."""
    tables = dict(_read_predictions(results))
    reference = results.encoders[0]
    if reference not in tables:
        return
    averaged = [data.card.id for data in results.averaged]
    for other, compared in encoder_table.compare(tables, reference, averaged).items():
        rows = [_show_difference(results.title_of(name), each) for name, each in compared["benchmarks"].items()]
        if "mean" in compared:
            rows.append(_show_difference("Mean", compared["mean"]))
        if rows:
            title = f"Macro-F1, {_name(reference)} minus {_name(other)}"
            yield _tabulate(title, ("Difference", "p", "p (Holm)"), rows)


def _show_difference(title: str, row: Tree) -> Row:
    span = f"{row['low']:+.3f} to {row['high']:+.3f}" if "low" in row else ""
    kind = "number strong" if row.get("p_holm", row["p"]) < LEVEL else "number"
    ps = (f"{row[name]:.4f}" if name in row else "" for name in ("p", "p_holm"))
    return Row([text(title), Cell(f"{row['difference']:+.3f}", span, kind), *(Cell(p, "", "number") for p in ps)])


def _read_predictions(results: Results) -> Iterator[tuple[str, pa.Table]]:
    for encoder in results.encoders:
        try:
            table = read_table(paths.TRANSFER / encoder / "predictions.parquet", PREDICTION_SCHEMA)
        except StaleError:  # it has not been written, or by an earlier version
            continue
        if len(table):
            yield encoder, table


def _remark(results: Results) -> Iterator[str]:
    """How to read the tables, and what the scores leave out."""
    if len(results.encoders) > 1:
        yield "p (Holm): corrected for the number of benchmarks; differences with p (Holm) below 0.05 are bold"
    outside = [data.card.title for data, _ in results.iterate_transfers() if data not in results.averaged]
    if outside:
        yield f"the means are without {', '.join(outside)}: they are over published datasets"
    for data, scores in results.iterate_transfers():
        for part in ("train", "test"):
            if absent := scores.get(f"classes_without_{part}_rows", ()):
                yield f"{data.card.title}: no {part} row has the class {', '.join(absent)}"
    missing = [data.card.title for data in _list_benchmarks(results) if data.card.id not in results.transfer]
    if missing:
        yield f"not in this run: {', '.join(missing)}"


def _name(encoder: str) -> str:
    return ENCODERS.get(encoder, encoder)


def show_paper(results: Results) -> Iterator[Block]:
    """The paper's figures beside ours, and whether they can be compared."""
    rows = []
    for figure in FIGURES:
        ours, caveat = _compare(results, figure)
        others = ", ".join(f"{name} {value}" for name, value in figure.others)
        published = Cell(f"{figure.value:.{3 if figure.source is None else 1}f}", kind="number strong")
        rows.append(Row([text(figure.name), ours, published, text(others), text(caveat, "why")]))
    yield Text(
        f"The paper’s scores of its 7-billion-parameter model, trained on all {NUM_SOURCES} sources, beside those of "
        "this run."
    )
    yield Table(["Score", "This run", "OpenMedQ, paper", "Others, as reported in the paper", "Comparable?"], rows)


def _compare(results: Results, figure: Figure) -> tuple[Cell, str]:
    """Our score, and why it cannot be compared with the paper's, or under which condition it can."""
    if figure.source is None:
        benchmarks = results.averaged
        if not benchmarks:
            return count(0), "no benchmark in this run"
        titles = ", ".join(data.card.title for data in benchmarks)
        kind = "generated miniatures" if any(data.is_miniature for data in benchmarks) else "not the paper’s eight"
        ours = score(results.transfer["mean"][results.encoders[0]], figure.metric, 3)
        return ours, f"ours is of {titles}, {kind}: not comparable"
    data = results.find(figure.source)
    scores = results.evaluation.get(figure.source)
    if data is None or not data.is_present or not scores or not scores["num_rows"]:
        return count(0), "not in this run"
    num_rows, num_published = scores["num_rows"], data.num_published_evaluation_rows
    if data.is_miniature:
        caveat = "ours is of a generated miniature: not comparable"
    elif num_rows != num_published:
        caveat = f"ours is of {num_rows:,} rows, the published test has {num_published:,}: not comparable"
    else:
        caveat = "the published test; the paper does not state its tokenizer"
    return score(scores, figure.metric), caveat
