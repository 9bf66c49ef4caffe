"""Transfer of the encoders to classification datasets, and the figures of the paper beside those of this run."""

from __future__ import annotations

from collections.abc import Iterator

from openmedq.reporting import encoders
from openmedq.reporting.document import Block, Cell, Heading, Row, Section, Table, Text, count, score, text
from openmedq.reporting.document import Figure as Chart
from openmedq.reporting.published import FIGURES, NUM_SOURCES, Figure
from openmedq.reporting.results import Results


def describe_transfer(results: Results) -> Section:
    """The encoders of this run and of the paper by dataset, their other scores, and paired differences."""
    return Section("transfer", "Transfer of the encoder", list(_show_transfer(results)))


def _show_transfer(results: Results) -> Iterator[Block]:
    found = encoders.describe(results)
    if found is None:
        yield Text("No benchmark is among the files of this run.", "")
        return
    yield Text(
        "Image encoders, each fine-tuned by the same recipe on datasets that training never saw, with the weights of "
        "the epoch that has the lowest loss on validation rows. Scores are between 0 and 1 and means over seeds; for "
        "the intervals, patients or images are drawn with all their rows."
    )
    yield Chart("encoders", "Scores of the encoders by dataset", found.chart)
    for table in found.tables:
        yield Heading(table.title)
        rows = [Row([text(name), *map(_convert, cells)], is_part=name == encoders.PAPER) for name, cells in table.rows]
        yield Table(["Dataset", *table.columns], rows)
    for letter, words in found.notes:
        yield Text(f"Note {letter}: {words}.")
    for words in found.remarks:
        yield Text(f"{words}.")


def _convert(cell: encoders.Cell) -> Cell:
    note = " ".join(filter(None, (cell.span, f"note {cell.note}" if cell.note else "")))
    return Cell(cell.text, note, "number strong" if cell.is_strong else "number")


def describe_paper(results: Results) -> Section:
    """The paper's figures beside ours, and whether they can be compared."""
    rows = []
    for figure in FIGURES:
        ours, caveat = _compare(results, figure)
        others = ", ".join(f"{name} {value}" for name, value in figure.others)
        published = Cell(f"{figure.value:.{3 if figure.source is None else 1}f}", kind="number strong")
        rows.append(Row([text(figure.name), ours, published, text(others), text(caveat, "why")]))
    blocks: list[Block] = [
        Text(
            f"The paper’s scores of its 7-billion-parameter model, trained on all {NUM_SOURCES} sources, beside those "
            "of this run."
        ),
        Table(["Score", "This run", "OpenMedQ, paper", "Others, as reported in the paper", "Comparable?"], rows),
    ]
    return Section("paper", "Comparison with the paper", blocks)


def _compare(results: Results, figure: Figure) -> tuple[Cell, str]:
    """Our score, and why it cannot be compared with the paper's, or under which condition it can."""
    if figure.source is None:
        benchmarks = [data for data, _ in results.iterate_transfers()]
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
