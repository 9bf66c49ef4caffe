"""Three drawings as inline SVG: scores with intervals, the fates of rows, the loss. Colors are the page's CSS classes.

Each says in words what it shows, and each stands beside a table with the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 880
ROW = 30
FATES = ("train", "validation", "evaluation", "duplicate", "kept out", "rejected")  # as `SetResult.fates` names them

_LABEL = 150  # width of the labels on the left


@dataclass(frozen=True)
class Bar:
    """A score in percent, its interval where there is one, and the floor to hold it against."""

    label: str
    value: float
    low: float | None
    high: float | None
    floor: float
    note: str  # said at the right


def draw_scores(title: str, bars: Sequence[Bar]) -> Markup:
    """A dot with its interval per row on a scale from 0 to 100; a tick where the floor is."""
    left, right = _LABEL, WIDTH - 140
    bottom = ROW * len(bars) + 8

    def place(percent: float) -> float:
        return left + (right - left) * percent / 100

    parts = [_grid(place(tick), 0, bottom, f"{tick}") for tick in range(0, 101, 20)]
    for number, bar in enumerate(bars):
        middle = ROW * number + ROW / 2 + 4
        parts.append(_text(left - 14, middle + 4, bar.label, "label end"))
        if bar.low is not None and bar.high is not None:
            parts.append(_line(place(bar.low), middle, place(bar.high), middle, "interval"))
        parts.append(_line(place(bar.floor), middle - 8, place(bar.floor), middle + 8, "floor"))
        parts.append(Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="5"/>').format(place(bar.value), middle))
        parts.append(_text(right + 16, middle + 4, bar.note, "note"))
    return _svg(title, bottom + 24, parts)


def draw_fates(title: str, rows: Sequence[tuple[str, Mapping[str, int]]]) -> Markup:
    """A bar per set, as long for each: the shares of what became of the records found."""
    left, right = _LABEL, WIDTH - 110
    parts: list[Markup] = []
    for number, (label, fates) in enumerate(rows):
        top = ROW * number + 7
        parts.append(_text(left - 14, top + 13, label, "label end"))
        total = sum(fates.values())
        start = float(left)
        for fate in FATES:
            width = (right - left) * fates[fate] / total if total else 0.0
            if width:
                parts.append(_rectangle(start, top, width, 18, fate, f"{label}: {fates[fate]:,} {fate}"))
            start += width
        if not total:
            parts.append(_line(left, top + 9, right, top + 9, "absent"))
        parts.append(_text(right + 16, top + 13, f"{total:,} found" if total else "absent", "note"))
    return _svg(title, ROW * len(rows) + 6, parts)


def draw_loss(title: str, losses: Sequence[tuple[int, float]]) -> Markup:
    """The loss over steps: every step faint, and a running mean over a twentieth of them."""
    left, right, top, bottom = 46, WIDTH - 16, 10, 220
    steps, values = zip(*_thin(losses, 800), strict=True)
    ticks_x, ticks_y = _ticks(0, max(steps)), _ticks(0, max(values))
    end_x, end_y = max(steps[-1], 1), max(ticks_y[-1], max(values)) or 1

    def place(step: float, value: float) -> tuple[float, float]:
        return left + (right - left) * step / end_x, bottom - (bottom - top) * value / end_y

    parts = [_text(left - 10, place(0, tick)[1] + 4, f"{tick:g}", "tick end") for tick in ticks_y]
    parts += [_line(left, place(0, tick)[1], right, place(0, tick)[1], "grid") for tick in ticks_y]
    parts += [_text(place(tick, 0)[0], bottom + 20, f"{tick:,.0f}", "tick middle") for tick in ticks_x]
    for name, series in (("faint", values), ("curve", _running_mean(values, len(values) // 40))):
        points = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in zip(steps, series, strict=True))
        parts.append(Markup('<polyline class="{}" points="{}"/>').format(name, points))
    parts.append(_text(right, bottom + 36, "updates", "tick end"))
    return _svg(title, bottom + 42, parts)


def _thin(points: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    stride = math.ceil(len(points) / most)
    return list(points[::stride])


def _running_mean(values: Sequence[float], reach: int) -> list[float]:
    """Mean of each value and up to `reach` neighbors on both sides."""
    around = [values[max(0, place - reach) : place + reach + 1] for place in range(len(values))]
    return [sum(near) / len(near) for near in around]


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers from low to at most high."""
    span = max(high - low, 1e-9)
    unit = 10 ** math.floor(math.log10(span / 5))
    step = next(unit * factor for factor in (1, 2, 5, 10) if span / (unit * factor) <= 6)
    return [low + step * number for number in range(int(span / step + 1e-9) + 1)]


def _svg(title: str, height: float, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg role="img" viewBox="0 0 {} {:.0f}"><title>{}</title>{}</svg>').format(
        WIDTH, height, title, Markup("").join(parts)
    )


def _grid(x: float, top: float, bottom: float, label: str) -> Markup:
    return _line(x, top, x, bottom, "grid") + _text(x, bottom + 18, label, "tick middle")


def _line(x1: float, y1: float, x2: float, y2: float, name: str) -> Markup:
    template = '<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
    return Markup(template).format(name, x1, y1, x2, y2)


def _rectangle(x: float, y: float, width: float, height: float, name: str, title: str) -> Markup:
    template = '<rect class="fate {}" x="{:.1f}" y="{:.1f}" width="{:.2f}" height="{:.1f}"><title>{}</title></rect>'
    return Markup(template).format(name.replace(" ", "-"), x, y, width, height, title)


def _text(x: float, y: float, text: str, name: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(name, x, y, escape(text))
