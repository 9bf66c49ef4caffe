"""What `score` and `compare` share: tables of scores in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table


def make_table(title: str, first: str, *numbers: str) -> Table:
    """A table with a column of names and columns of numbers."""
    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1), pad_edge=False)
    table.title_justify, table.title_style = "left", "bold"
    table.add_column(first)
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def format_score(scores: Mapping[str, Any], name: str, digits: int = 1, digits_of_bounds: int | None = 1) -> str:
    """`65.2 (62.0-68.1)`, or `65.2` without bounds or if they have no digits; "-" if the part has no such score."""
    if name not in scores:  # such as the recall of open questions where all are closed
        return "-"
    value = f"{scores[name]:.{digits}f}"
    if digits_of_bounds is None or f"{name}_low" not in scores:
        return value
    low, high = (f"{scores[f'{name}_{bound}']:.{digits_of_bounds}f}" for bound in ("low", "high"))
    return f"{value} ({low}-{high})"


def format_difference(scores: Mapping[str, Any], name: str) -> str:
    """`-1.2 (-3.4 to +0.9)`; "-" if the part has no such difference."""
    if name not in scores:
        return "-"
    bounds = f" ({scores[f'{name}_low']:+.1f} to {scores[f'{name}_high']:+.1f})" if f"{name}_low" in scores else ""
    return f"{scores[name]:+.1f}{bounds}"
