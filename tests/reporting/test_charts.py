import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from openmedq import curate, reporting
from openmedq.reporting import charts
from openmedq.reporting.charts import draw_calibration, draw_dots, draw_waterfall

SVG = "{http://www.w3.org/2000/svg}"
CHARTS: dict[str, Callable[[], Markup]] = {
    "scores": lambda: draw_dots(
        "Scores $1", ["<a>", r"肺 $\frac{$"], [("F1", [(50, 40, 70), None])], ("majority", [100, 50]), end=100
    ),
    "differences": lambda: draw_dots("Differences", ["a"], [("blank", [(5, -1, 9)]), ("none", [None])]),
    "calibration": lambda: draw_calibration(
        "Calibration", [{"low": 0.5, "high": 0.6, "num_rows": 4, "confidence": 0.55, "accuracy": 0.5}]
    ),
    "waterfall": lambda: draw_waterfall("Waterfall", [("<found>", 30), ("read", 0)], ("the paper", 40)),
}


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_a_chart_stands_alone_has_a_title_and_the_same_bytes_at_each_run(draw: Callable[[], Markup]) -> None:
    svg = ElementTree.fromstring(draw())
    assert svg.findtext(f"{SVG}title") and svg.attrib["role"] == "img"
    links = [value for element in svg.iter() for key, value in element.attrib.items() if key.endswith("href")]
    assert all(link.startswith("#") for link in links)
    assert draw() == draw()


def _luminance(color: str) -> float:
    channels = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels)
    return sum(part * each for part, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_contrast_of_texts_and_charts_is_that_of_wcag_aa() -> None:
    folders = (Path(package.__file__).parent / "templates" for package in (curate, reporting))
    style = "".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.glob("*.css"))
    texts = set(re.findall(r"[ ;]color: var\(--([\w-]+)\)", style)) - {"notice-ink"}
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6});", scheme)) for scheme in style.split(":root {")[1:3])
    drawn = [color for color, _ in charts._SERIES]
    for scheme in (light, dark):
        pairs = [(scheme["notice-ink"], scheme["notice"], 4.5)]
        pairs += [(scheme[name], scheme[ground], 4.5) for name in texts for ground in ("paper", "panel")]
        pairs += [(color, scheme["paper"], 3) for color in drawn]
        for color, ground, least in pairs:
            low, high = sorted(_luminance(each) + 0.05 for each in (color, ground))
            assert high / low >= least, (color, ground)
