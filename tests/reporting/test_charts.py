from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmedq.reporting.charts import FATES, WIDTH, Bar, draw_fates, draw_loss, draw_scores

LOSSES = st.lists(st.floats(0, 1e6), min_size=1, max_size=40)


def test_a_bar_is_as_long_as_its_share() -> None:
    fates = dict.fromkeys(FATES, 0) | {"train": 30, "rejected": 10}
    svg = ElementTree.fromstring(draw_fates("title", [("<a>", fates), ("empty", dict.fromkeys(FATES, 0))]))
    train, rejected = svg.findall("rect")
    assert float(train.attrib["width"]) == pytest.approx(3 * float(rejected.attrib["width"]), abs=0.02)
    assert train.findtext("title") == "<a>: 30 train"
    assert "absent" in [text.text for text in svg.findall("text")]


def test_a_score_stands_within_its_interval() -> None:
    svg = ElementTree.fromstring(draw_scores("title", [Bar("a", 50, 40, 70, 20, ""), Bar("b", 0, None, None, 0, "")]))
    first, second = (float(dot.attrib["cx"]) for dot in svg.findall("circle"))
    (interval,) = (line for line in svg.findall("line") if line.attrib["class"] == "interval")
    assert float(interval.attrib["x1"]) < first < float(interval.attrib["x2"])
    assert second < first


@given(LOSSES)
def test_the_loss_stays_within_the_drawing(values: list[float]) -> None:
    svg = ElementTree.fromstring(draw_loss("title", list(enumerate(values, start=1))))
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    assert width == WIDTH
    for line in svg.findall("polyline"):
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height


def test_the_curve_is_the_mean_of_as_many_losses_on_both_sides() -> None:
    losses = [(step, 5.0 if step == 50 else 0.0) for step in range(1, 101)]
    _, curve = ElementTree.fromstring(draw_loss("title", losses)).findall("polyline")
    heights = [float(point.split(",")[1]) for point in curve.attrib["points"].split()]
    raised = [step for step, height in enumerate(heights, start=1) if height != heights[0]]
    assert raised == [48, 49, 50, 51, 52]  # a twentieth of the updates


def test_a_long_training_is_thinned() -> None:
    svg = ElementTree.fromstring(draw_loss("title", [(step, 1.0) for step in range(100_000)]))
    assert len(svg.findall("polyline")[0].attrib["points"].split()) <= 800
