"""One page with scores, intervals, examples and the waterfall. What results mean is `report/page.py`'s business."""

from __future__ import annotations

from openmedq import paths
from openmedq.config import Params
from openmedq.reporting.examples import read_examples
from openmedq.reporting.page import render
from openmedq.reporting.results import read_results
from openmedq.storage.progress import Log
from openmedq.storage.publish import publish


def run(params: Params, log: Log) -> None:
    """Write data/report/index.html, whole in itself; examples are of sources that anyone may see."""
    results = read_results()
    page = render(results, read_examples(results.open_sources, params.report.num_examples))
    with publish(paths.REPORT) as folder:
        folder.mkdir()
        (folder / "index.html").write_text(page, encoding="utf-8")
