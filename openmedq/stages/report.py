"""One page with scores, intervals, examples and the waterfall. What results mean is `report/page.py`'s business."""

from __future__ import annotations

from openmedq import layout
from openmedq.io.publish import publish
from openmedq.params import Params
from openmedq.report.examples import read_examples
from openmedq.report.page import render
from openmedq.report.results import read_results


def run(params: Params) -> None:
    """Write data/report/index.html, whole in itself; examples are of sources that anyone may see."""
    results = read_results()
    page = render(results, read_examples(results.open_sources, params.report.num_examples))
    with publish(layout.REPORT) as folder:
        folder.mkdir()
        (folder / "index.html").write_text(page, encoding="utf-8")
