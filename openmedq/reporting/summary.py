"""The closing tables in the terminal: scores, the waterfall of rows per set, where to look next. Computes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from openmedq import paths
from openmedq.errors import StaleError
from openmedq.reporting.results import WHERE_NEXT, Results, SetResult, Tree, read_results
from openmedq.schema import Role

LOST = ("rejected", "duplicate", "kept out")


def show(console: Console) -> None:
    """Print the tables; StaleError where the pipeline has not been run."""
    results = read_results()
    if not any(each.state != "not run" for each in results.sets):
        raise StaleError(f"{paths.MIX / 'waterfall.json'}: not there; run `dvc repro`, which makes it")
    _show_scores(console, results)
    _show_transfer(console, results)
    _show_waterfall(console, results)
    _show_where_next(console)


def _show_scores(console: Console, results: Results) -> None:
    if results.evaluation is None:
        _say(console, f"No scores: {paths.EVALUATION / 'metrics.json'} is not there; `dvc repro evaluate` makes it.")
        return
    table = _table("Scores of answers, percent", "set", "rows", "BLEU-1", "exact match", "token F1", "never\nlooking")
    for name, scores in _iterate_scores(results):
        marks = [_interval(scores, score) for score in ("bleu_1", "exact_match")]
        marks += [f"{scores[score]:.1f}" for score in ("token_f1", "baseline_exact_match")]
        table.add_row(name, f"{scores['num_rows']:,}", *marks)
    if table.row_count:
        console.print(table)
    else:
        _say(console, "No scores: no row of an evaluation split is in the mix.")
    if miniatures := [each.id for each in results.sets if each.is_miniature]:
        _say(console, f"Generated miniatures, not comparable with published figures: {', '.join(miniatures)}.")
    console.print()


def _iterate_scores(results: Results) -> Iterator[tuple[str, Tree]]:
    evaluation = results.evaluation or {}
    scored = [(data.id, scores) for data, scores in results.iterate_scores()]
    yield from scored
    if len(scored) > 1:
        yield "all", evaluation["all"]
    new = evaluation.get("all", {}).get("new_pictures", {"num_rows": 0})
    if new["num_rows"]:
        yield "  new pictures", new


def _show_transfer(console: Console, results: Results) -> None:
    if not results.transfer:
        return
    table = _table("Transfer of the encoder, macro-F1", "set", "test rows", "trained", "from scratch")
    for name, scores in results.transfer.items():
        if name != "mean":
            marks = (_interval(scores[encoder], "macro_f1", digits=3) for encoder in ("trained", "scratch"))
            table.add_row(name, f"{scores['num_test_rows']:,}", *marks)
    if table.row_count:
        console.print(table)
        console.print()


def _show_waterfall(console: Console, results: Results) -> None:
    table = _table("Rows, from the published files to the mix", "set", "found", "read", *LOST)
    table.add_column("in the mix")
    for each in results.sets:
        if each.is_present:
            numbers = (each.found, each.read, *(each.fates[fate] for fate in LOST))
            roles = [f"{each.mix[role]:,} {role.value}" for role in Role if each.mix.get(role)]
            table.add_row(each.id, *(f"{number:,}" if number else "-" for number in numbers), "\n".join(roles) or "-")
        else:
            table.add_row(each.id, Text(each.state, style="dim"))
    console.print(table)
    if any(each.reasons or each.reason for each in results.sets):
        _say(console, "Not in the mix:")
    for each in results.sets:
        for line in _tell_losses(each):
            _say(console, line)
    console.print()


def _tell_losses(data: SetResult) -> Iterator[str]:
    reasons = [
        f"{number:,} {reason if reason.startswith(fate) else f'{fate}: {reason}'}"
        for fate, reason, number in data.reasons
    ]
    if data.reason:
        yield f"  {data.id}: absent: {data.reason}"
    if reasons:
        yield f"  {data.id}: {'; '.join(reasons)}"


def _show_where_next(console: Console) -> None:
    _say(console, Text("Where to look next", style="bold"))
    table = Table.grid(padding=(0, 2))
    for name, place, text in WHERE_NEXT:
        table.add_row(f"  {name}", Text(place, style="cyan"), Text(text, style="dim"))
    console.print(table)


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1), pad_edge=False)
    table.title_justify, table.title_style = "left", "bold"
    table.add_column(first, no_wrap=True)
    for header in numbers:
        table.add_column(header, justify="right")
    return table


def _interval(scores: Tree, name: str, digits: int = 1) -> str:
    """`65.2 (62.0-68.4)`; the value alone where it has no interval."""
    value = f"{scores[name]:.{digits}f}"
    if f"{name}_low" not in scores:
        return value
    return f"{value} ({scores[f'{name}_low']:.{digits}f}-{scores[f'{name}_high']:.{digits}f})"


def _say(console: Console, text: str | Text) -> None:
    console.print(text, highlight=False, markup=False)
