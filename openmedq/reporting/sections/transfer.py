"""Transfer of the encoders to classification datasets, beside what the paper states of each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from openmedq import paths
from openmedq.errors import StaleError
from openmedq.evaluation import encoder_table
from openmedq.evaluation.encoder_table import PREDICTION_SCHEMA
from openmedq.reporting.charts import draw_dots, find_point
from openmedq.reporting.document import Block, Figure, Heading, Row, Table, Text, score, text
from openmedq.reporting.published import BENCHMARK_FIGURES, ENCODERS, MEAN_MACRO_F1
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
GENERATED = "ours is of a generated miniature: not comparable"
UNNAMED = "the notes on the paper name four of its eight datasets: not comparable"
LEVEL = 0.05  # a difference with a smaller p is bold


def show_transfer(results: Results) -> Iterator[Block]:
    """The encoders of this run and of the paper by dataset, their other scores, and paired differences."""
    rows = [(data.card.title, scores) for data, scores in results.iterate_transfers()]
    if not rows:
        yield Text("No benchmark is among the files of this run.")
        return
    yield Text(
        "Image encoders, each fine-tuned by the same recipe on datasets that training never saw, with the weights of "
        "the epoch that has the lowest loss on validation rows. Scores are between 0 and 1 and means over seeds; for "
        "the intervals, patients or images are drawn with all their rows."
    )
    if len(rows) > 1:
        rows.append(("Mean", results.transfer["mean"]))
    metric = results.transfer_metrics[0]
    series = [
        (_name(encoder), [find_point(scores.get(encoder, {}), metric["name"]) for _, scores in rows])
        for encoder in results.encoders
    ]
    title = f"{metric['title']} of the encoders by benchmark"
    chart = draw_dots(title, [label for label, _ in rows], series, end=1)
    yield Figure("encoders", title, chart)
    yield from _tabulate_paper(results)
    for metric in results.transfer_metrics[1:]:
        scored = [_score(title, scores, metric, results.encoders) for title, scores in rows]
        yield from _tabulate(f"{metric['title']}, fine-tuned", map(_name, results.encoders), scored)
    if results.transfer.get("mean_of_frozen"):
        yield from _tabulate_methods(results)
    yield from _compare_encoders(results)
    yield from (Text(f"{words}.") for words in _remark(results))


def _tabulate(title: str, columns: Iterable[str], rows: Sequence[Row], first: str = "Dataset") -> Sequence[Block]:
    return Heading(title), Table([first, *columns], rows)


def _score(title: str, scores: Tree, metric: Tree, encoders: Iterable[str]) -> Row:
    return [text(title), *(score(scores.get(key, {}), metric["name"], 3) for key in encoders)]


def _tabulate_paper(results: Results) -> Sequence[Block]:
    """Benchmarks and their mean by encoder, what the paper states of each, and whether the two can be compared."""
    metric = results.transfer_metrics[0]
    rows: list[Row] = []

    def add(title: str, scores: Tree, stated: str, why: str) -> None:
        row = _score(title, scores, metric, results.encoders)
        rows.append([*row, text(stated), text(why, "why")])

    benchmarks = [data for data in results.datasets if data.card.kind == "benchmark"]
    for data in benchmarks:
        stated = "" if data.card.local else BENCHMARK_FIGURES.get(data.card.id, "not named")
        scores = results.transfer.get(data.card.id, {})
        add(data.card.title, scores, stated, _judge(data, is_scored=bool(scores)) if stated else "")
    means = ", ".join(f"{ENCODERS.get(name, 'OpenMedQ')} {value:.3f}" for name, value in MEAN_MACRO_F1.items())
    is_generated = any(data.is_miniature for data in benchmarks)
    add("Mean", results.transfer["mean"], f"of eight: {means}", GENERATED if is_generated else UNNAMED)
    columns = (*map(_name, results.encoders), "Paper", "Comparable?")
    return _tabulate(f"{metric['title']}, fine-tuned, beside the paper", columns, rows)


def _judge(data: DatasetResult, *, is_scored: bool) -> str:
    if not is_scored:
        return "not in this run"
    if data.is_miniature:
        return GENERATED
    if data.card.id not in BENCHMARK_FIGURES:
        return UNNAMED
    if not data.card.fitted:
        return "the dataset has no published split, and the paper's is not known: not comparable"
    return "the same dataset and metric; the paper's split, threshold and validation are not known"


def _tabulate_methods(results: Results) -> Sequence[Block]:
    """The mean over the benchmarks by method: fine-tuned, and from frozen features."""
    metric, frozen = results.transfer_metrics[0], results.transfer["mean_of_frozen"]
    trees = {method: {key: frozen.get(key, {}).get(method, {}) for key in results.encoders} for method in METHODS}
    trees["fine_tuned"] = results.transfer["mean"]
    rows = [_score(METHODS[name], tree, metric, results.encoders) for name, tree in trees.items() if any(tree.values())]
    title = f"{metric['title']}, mean over the benchmarks, fine-tuned and from frozen features"
    return _tabulate(title, map(_name, results.encoders), rows, "Method")


def _compare_encoders(results: Results) -> Iterator[Block]:
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
            yield from _tabulate(title, ("Difference", "p", "p (Holm)"), rows)


def _show_difference(title: str, row: Tree) -> Row:
    scores = {"difference": row["difference"]} | {f"difference_{end}": row.get(end) for end in ("low", "high")}
    difference = score(scores, "difference", 3, is_signed=True)
    if row.get("p_holm", row["p"]) < LEVEL:
        difference = replace(difference, kind="number strong")
    return [text(title), difference, *(score(row, name, 4) for name in ("p", "p_holm"))]


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


def _name(encoder: str) -> str:
    return ENCODERS.get(encoder, encoder)
