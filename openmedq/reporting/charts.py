"""The report's charts: scores with intervals, calibration, waterfall.

Each function `draw_*` returns an inline SVG element.

matplotlib draws the same bytes at each run. Colors have a contrast of at least 3 to light and dark pages, and series
differ by their markers, too. The page's style sheet sets the color of the text.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Tree = Mapping[str, Any]
Point = tuple[float, float, float]  # a score, and the ends of its interval

WIDTH_IN = 8.8

_STYLE = {
    "svg.hashsalt": "openmedq",  # ids of the same elements are the same at each run
    "svg.fonttype": "none",
    "text.parse_math": False,  # titles of datasets may have dollar signs
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": "#8a9096",
    "axes.axisbelow": True,
    "grid.color": "#8a9096",
    "grid.alpha": 0.3,
    "xtick.color": "#8a9096",
    "ytick.left": False,
    "legend.frameon": False,
}
_ACCENT, _BASELINE = "#3d85b8", "#b8741a"
_SERIES = ((_ACCENT, "o"), (_BASELINE, "s"), ("#4f9164", "^"), ("#b06bb0", "D"), ("#7d838a", "v"), ("#c4544c", "P"))


def find_point(scores: Tree, name: str) -> Point | None:
    """The score of this name and the ends of its interval; None if `scores` has no such score."""
    if name not in scores:
        return None
    return (scores[name], *(scores.get(f"{name}_{end}", scores[name]) for end in ("low", "high")))


def draw_dots(
    title: str,
    labels: Sequence[str],
    series: Sequence[tuple[str, Sequence[Point | None]]],
    marks: tuple[str, Sequence[float]] | None = None,
    end: float | None = None,
) -> Markup:
    """A row for each label: the score of each series as a dot, and its interval as a line.

    Args:
        title: of the chart.
        labels: of the rows.
        series: label, and a point for each row.
        marks: values without intervals: label, and a value for each row.
        end: of the axis, which begins at 0; None for differences, which get a line at 0.
    """
    with rc_context(_STYLE):
        figure, axes = _open(labels, 0.18 + 0.12 * len(series))
        for number, (label, points) in enumerate(series):
            # The series of a row are beside each other, over 0.7 of its height.
            shift = (number - (len(series) - 1) / 2) * 0.7 / max(len(series), 2)
            drawn = [(place + shift, *point) for place, point in enumerate(points) if point is not None]
            ys, values, lows, highs = zip(*drawn, strict=True) if drawn else ((),) * 4
            color, marker = _SERIES[number % len(_SERIES)]
            axes.hlines(ys, lows, highs, color=color, alpha=0.4, linewidth=5 if len(series) == 1 else 3)
            axes.plot(values, ys, marker, color=color, ms=5, clip_on=False, label=label)
        if marks:
            label, xs = marks
            axes.plot(xs, range(len(xs)), "|", color=_BASELINE, label=label, ms=12, mew=1.5, clip_on=False)
        if end is None:
            axes.axvline(0, color="#8a9096", linewidth=1)
            axes.set_xlabel(title)
        else:
            axes.set_xlim(0, end)
        axes.grid(axis="x")
        return _render(figure, title)


def draw_waterfall(title: str, steps: Sequence[tuple[str, int]], reference: tuple[str, int]) -> Markup:
    """A bar for the number of records after each step, and a line at a reference (label, number)."""
    with rc_context(_STYLE):
        figure, axes = _open([label for label, _ in steps])
        numbers = [number for _, number in steps]
        bars = axes.barh(range(len(steps)), numbers, 0.6, color=_ACCENT, label="records")
        axes.bar_label(bars, [f"{number:,}" for number in numbers], padding=4)
        axes.axvline(reference[1], color=_BASELINE, linewidth=1.4, linestyle="--", label=reference[0])
        axes.set_xlim(0, 1.15 * max(*numbers, reference[1]))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        return _render(figure, title)


def draw_calibration(title: str, bins: Sequence[Mapping[str, Any]]) -> Markup:
    """The accuracy of each bin over its mean confidence."""
    with rc_context(_STYLE | {"ytick.color": "#8a9096", "ytick.left": True}):
        figure = Figure((WIDTH_IN, 3.6), layout="constrained")
        axes = figure.subplots()
        start = 0.5 if all(each["low"] >= 0.5 for each in bins) else 0  # of two answers, the likelier has at least 0.5
        xs, ys = ([each[name] for each in bins] for name in ("confidence", "accuracy"))
        axes.plot([0, 1], [0, 1], color="#8a9096", linewidth=1, linestyle="--", label="calibrated")
        axes.vlines(xs, xs, ys, color=_BASELINE, linewidth=1.4, label="distance")
        axes.plot(xs, ys, "o", color=_ACCENT, ms=6, clip_on=False, label="bin")
        axes.set(xlim=(start, 1), ylim=(0, 1), xlabel="mean confidence", ylabel="accuracy")
        axes.grid()
        return _render(figure, title)


def make_standalone(svg: Markup) -> str:
    """The chart as a standalone SVG file, with text colors for light and dark pages."""
    style = "<style>text{fill:#1d1f22!important}@media(prefers-color-scheme:dark){text{fill:#e6e6e3!important}}</style>"
    head, start, rest = str(svg).partition(">")
    return f"{head}{start}{style}{rest}"


def _open(labels: Sequence[str], row_in: float = 0.3) -> tuple[Figure, Axes]:
    """A figure with a row for each label, the first on top."""
    figure = Figure((WIDTH_IN, 0.9 + row_in * len(labels)), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    return figure, axes


def _render(figure: Figure, title: str) -> Markup:
    figure.legend(loc="outside upper left", ncols=6)
    buffer = io.StringIO()
    unset = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings(action="ignore"):  # of characters that its font lacks; the browser has its own fonts
        figure.savefig(buffer, format="svg", transparent=True, metadata=unset | {"Title": title})
    svg = buffer.getvalue()
    return Markup(svg[svg.index("<svg") :].replace("<svg", '<svg role="img"', 1))
