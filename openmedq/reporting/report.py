"""Stage report: one page with scores, intervals, examples and the waterfall."""

from __future__ import annotations

from openmedq import paths
from openmedq.config import OURS, Params
from openmedq.reporting.examples import read_examples
from openmedq.reporting.page import render
from openmedq.reporting.results import read_results
from openmedq.storage.progress import Log
from openmedq.storage.publish import publish


def run(params: Params, log: Log) -> None:
    """Write data/report/index.html, a self-contained page; its examples are records of open sources only.

    Log the scores of the encoders that are not the model's: no other stage that runs after the training has them.
    """
    results = read_results()
    page = render(results, read_examples(results.open_sources, params.report.num_examples))
    with publish(paths.REPORT) as folder:
        folder.mkdir()
        (folder / "index.html").write_text(page, encoding="utf-8")
    others = {name: results.transfer["mean"][name] for name in results.encoders if name != OURS}
    shown = [metric["name"] for metric in results.transfer_metrics if metric["is_headline"]]
    log({f"transfer/{name}/{metric}": scores[metric] for name, scores in others.items() for metric in shown}, None)
