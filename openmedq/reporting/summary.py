"""Print the results in the terminal: scores, transfer, the waterfall of rows, and where to look next."""

from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from openmedq import paths
from openmedq.errors import StaleError
from openmedq.evaluation.terminal import format_score, make_table
from openmedq.reporting.results import EXCLUDED, DatasetResult, Results, Tree, read_results
from openmedq.schema import Role

WHERE_NEXT = (
    ("the report", str(paths.REPORT / "index.html"), "scores, examples, what was not run"),
    ("the demo", "python -m openmedq demo", "ask the model, on this machine"),
    ("MLflow, Prefect", "make ui", "runs and flows, on this machine"),
    ("data validation", str(paths.DATA_DOCS / "index.html"), "each expectation and its result"),
    ("DVC", "dvc dag", "also: dvc metrics show, dvc exp show"),
)


def print_summary() -> None:
    """Print the tables on the standard output."""
    show(Console())


def show(console: Console) -> None:
    """Print the tables; StaleError if the pipeline has not been run."""
    results = read_results()
    if all(each.state == "not run" for each in results.datasets):
        raise StaleError(f"{paths.MIX / 'waterfall.json'}: not found; run `dvc repro`, which writes it")
    _show_scores(console, results)
    _show_transfer(console, results)
    _show_waterfall(console, results)
    _show_where_next(console)


def _show_scores(console: Console, results: Results) -> None:
    if not results.evaluation:
        _print(console, f"No scores: {paths.EVALUATION / 'metrics.json'} not found; `dvc repro evaluate` writes it.")
        return
    if any(_iterate_scores(results)):
        console.print(_tabulate_scores(results))
    else:
        _print(console, "No scores: the mix has no row of an evaluation split.")
    if miniatures := [each.card.id for each in results.datasets if each.is_miniature]:
        _print(console, f"Generated miniatures, not comparable with published figures: {', '.join(miniatures)}.")
    console.print()


def _tabulate_scores(results: Results) -> Table:
    """The headline metrics with intervals and baselines; the report has the others."""
    columns: list[tuple[str, str, int | None]] = []  # title, name, digits of the interval
    for metric in filter(itemgetter("is_headline"), results.metrics):
        columns.append((metric["title"].replace(" ", "\n"), metric["name"], 0))
        if metric["has_baseline"]:
            columns.append(("Majority\nbaseline", f"baseline_{metric['name']}", None))
    table = make_table("Scores of answers, percent", "source", "rows", *(title for title, _, _ in columns))
    for source, scores in _iterate_scores(results):
        cells = (format_score(scores, name, 1, digits) for _, name, digits in columns)
        table.add_row(source, f"{scores['num_rows']:,}", *cells)
    return table


def _iterate_scores(results: Results) -> Iterator[tuple[str, Tree]]:
    scored = [(data.card.id, scores) for data, scores in results.iterate_scores()]
    yield from scored
    if len(scored) > 1:
        yield "all", results.evaluation["all"]
    clean = results.evaluation["all"].get("clean", {"num_rows": 0})
    if clean["num_rows"]:
        yield "  clean rows", clean


def _show_transfer(console: Console, results: Results) -> None:
    for metric in filter(itemgetter("is_headline"), results.transfer_metrics):
        table = make_table(f"Transfer of the encoder, {metric['title']}", "benchmark", "test rows", *results.encoders)
        for data, scores in results.iterate_transfers():
            cells = (format_score(scores[encoder], metric["name"], 3, 2) for encoder in results.encoders)
            table.add_row(data.card.id, f"{scores['num_test_rows']:,}", *cells)
        console.print(table)
        console.print()


def _show_waterfall(console: Console, results: Results) -> None:
    table = make_table("Rows, from the published files to the mix", "dataset", "found", "read", *EXCLUDED)
    table.add_column("in the mix")
    for each in results.datasets:
        if each.is_present:
            numbers = (each.found, each.read, *(each.outcomes[name] for name in EXCLUDED))
            roles = [f"{each.mix[role]:,} {role.value}" for role in Role if each.mix.get(role)]
            cells = (f"{number:,}" if number else "-" for number in numbers)
            table.add_row(each.card.id, *cells, "\n".join(roles) or "-")
        else:
            table.add_row(each.card.id, Text(each.state, style="dim"))
    console.print(table)
    if reasons := [line for each in results.datasets for line in _list_reasons(each)]:
        _print(console, "\n".join(["Not in the mix:", *reasons]))
    console.print()


def _list_reasons(data: DatasetResult) -> Iterator[str]:
    if data.reason:
        yield f"  {data.card.id}: absent: {data.reason}"
    if reasons := [f"{number:,} {reason}" for reason, number in data.exclusion_reasons]:
        yield f"  {data.card.id}: {'; '.join(reasons)}"


def _show_where_next(console: Console) -> None:
    _print(console, Text("Where to look next", style="bold"))
    table = Table.grid(padding=(0, 2))
    for name, place, text in WHERE_NEXT:
        if place.endswith(".html") and not Path(place).is_file():
            text = "missing; `dvc repro` writes it"
        table.add_row(f"  {name}", Text(place, style="cyan"), Text(text, style="dim"))
    console.print(table)


def _print(console: Console, text: str | Text) -> None:
    console.print(text, highlight=False, markup=False)
