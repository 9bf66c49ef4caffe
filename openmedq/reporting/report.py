"""Stage report: the scores, intervals, examples and the waterfall as one page and as Markdown, and the model card."""

from openmedq import paths
from openmedq.config import OURS, Params
from openmedq.model import provenance
from openmedq.reporting import model_card, page
from openmedq.reporting.examples import NUM_PAIRS, read_examples, read_pairs
from openmedq.reporting.results import read_results
from openmedq.storage.progress import Log
from openmedq.storage.publish import publish


def run(params: Params, log: Log) -> None:
    """Write index.html, report.md with its figures and model_card.md to data/report.

    index.html needs no other file. The examples and pairs are records of open datasets only. Log the report's head as
    the run's description, and the scores of the encoders that are not the model's: no other stage that runs after the
    training has them.
    """
    results = read_results()
    num_examples = params.report.num_examples
    examples = read_examples(results.open_sources, num_examples)
    document = page.compose(results, examples, read_pairs(results.open_datasets, min(NUM_PAIRS, num_examples)))
    files = {"index.html": page.render_html(document), "report.md": page.render_markdown(document)}
    if (paths.MODEL / provenance.NAME).exists():
        tree = provenance.read(paths.MODEL)
        files["model_card.md"] = model_card.render(results, tree, tree["policy"])
    with publish(paths.REPORT) as folder:
        (folder / "figures").mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        for name, content in page.render_images(document):
            (folder / name).write_bytes(content)
    log.describe(page.render_description(document))
    others = [encoder for encoder in results.encoders if encoder != OURS]
    shown = [metric["name"] for metric in results.transfer_metrics if metric["is_headline"]]
    means = results.transfer["mean"] if others else {}
    log({f"transfer/{name}/{metric}": means[name][metric] for name in others for metric in shown}, None)
