"""The charts are well-formed SVG without other files, the same at each run, and show what they are given."""

import re
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup

from openmedq.reporting.charts import MAX_POINTS, draw_calibration, draw_dots, draw_loss, draw_outcomes, draw_waterfall
from openmedq.reporting.results import OUTCOMES

SVG = "{http://www.w3.org/2000/svg}"
EMPTY = dict.fromkeys(OUTCOMES, 0)
CHARTS: dict[str, Callable[[], Markup]] = {
    "scores": lambda: draw_dots(
        "Scores", ["<a>", "b"], [("F1", [(50, 40, 70), None])], ("majority", "|", [(100, 0)]), end=100
    ),
    "differences": lambda: draw_dots("Differences", ["a"], [("blank", [(5, -1, 9)]), ("none", [None])]),
    "calibration": lambda: draw_calibration(
        "Calibration", [{"low": 0.5, "high": 0.6, "num_rows": 4, "confidence": 0.55, "accuracy": 0.5}]
    ),
    "outcomes": lambda: draw_outcomes("Outcomes", [("<a>", EMPTY | {"train": 30, "rejected": 10}), ("none", EMPTY)]),
    "no outcomes": lambda: draw_outcomes("Outcomes", []),
    "waterfall": lambda: draw_waterfall("Waterfall", [("<found>", 30), ("read", 0)], ("the paper", 40)),
    "loss": lambda: draw_loss("Loss", [(1, 2.0), (2, 1.0), (3, 0.5)]),
    "one loss": lambda: draw_loss("Loss", [(1, 0.0)]),
}


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_a_chart_stands_alone_has_a_title_and_the_same_bytes_at_each_run(draw: Callable[[], Markup]) -> None:
    svg = ElementTree.fromstring(draw())
    assert svg.findtext(f"{SVG}title")
    links = [value for element in svg.iter() for key, value in element.attrib.items() if key.endswith("href")]
    assert all(link.startswith("#") for link in links)
    assert draw() == draw()


def test_a_bar_is_as_long_as_its_share() -> None:
    svg = ElementTree.fromstring(draw_outcomes("Outcomes", [("a", EMPTY | {"train": 30, "rejected": 10})]))
    widths: dict[str, float] = {}
    for path in svg.iter(f"{SVG}path"):
        xs = [float(x) for x in re.findall(r"[ML] ([\d.]+)", path.attrib["d"])]
        widths.setdefault(path.attrib.get("style", ""), max(xs) - min(xs))  # the bar comes before its legend
    assert widths["fill: #3d85b8"] == pytest.approx(3 * widths["fill: #c4544c"], rel=1e-3)


def test_a_long_training_is_thinned() -> None:
    svg = draw_loss("Loss", list(enumerate(np.random.default_rng(0).random(20_000).tolist())))
    longest = max(path.attrib["d"].count("L") for path in ElementTree.fromstring(svg).iter(f"{SVG}path"))
    assert MAX_POINTS / 2 < longest <= MAX_POINTS
