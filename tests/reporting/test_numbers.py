"""A metric of the registry has the same numbers in metrics.json, DVC, MLflow, the page, the Markdown and the card."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from openmedq import paths
from openmedq.evaluation import evaluate
from openmedq.evaluation.metrics import CLASSIFICATION_METRICS, METRICS
from openmedq.evaluation.metrics.metric import Metric
from openmedq.model import provenance
from openmedq.reporting import report
from openmedq.tracking import runs, store
from tests.conftest import run as run_command
from tests.curate.corpus import make_params
from tests.reporting.tables import Table, read_html, read_markdown
from tests.stages.results import write_learning, write_scores, write_transfer
from tests.tracking.conftest import _new_store, empty_store  # noqa: F401  fixtures


def first_letter(answer: str, references: Sequence[str]) -> float:
    return float(any(answer[:1] == reference[:1] for reference in references))


# A new metric; after `evaluate`, metrics.json alone describes it.
TOY = Metric("first_letter", "First letter", first_letter, is_headline=True, has_baseline=True)
ALL = [*METRICS, TOY]
VALUE = 0.8125  # of our encoder under the first metric
SOURCES = {"open_vqa": "Title of open_vqa", "open_text": "Title of open_text", "secret_vqa": "Title of secret_vqa"}
TREE = {
    "policy": "any",
    "sources": {name: {"access": "open", "origin": "mirror", "rows": 9, "licences": {"MIT": 9}} for name in SOURCES},
    "base_weights": {},
}


@pytest.fixture
def outputs(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:  # noqa: F811
    """metrics.json of evaluate, and what the stages have logged to MLflow: metrics, and the table of scores."""
    (paths.MODEL / provenance.NAME).write_text(provenance.render(TREE), encoding="utf-8")
    params = make_params(evaluate={"max_new_tokens": 4, "num_resamples": 50})
    with runs.open_run("evaluate", (), params) as log:
        METRICS.append(TOY)
        try:
            write_scores(monkeypatch, log=log)
        finally:
            METRICS.remove(TOY)
    write_learning()
    described = [{"name": m.name, "title": m.title, "is_headline": m.is_headline} for m in CLASSIFICATION_METRICS]
    for place, encoder in enumerate(("ours", "scratch")):
        scores = {m.name: VALUE - 0.125 * n - 0.5 * place for n, m in enumerate(CLASSIFICATION_METRICS)}
        write_transfer(encoder, scores, metrics=described)
    with runs.open_run("report", (), params) as log:
        report.run(params, log)
    client, experiment = store.connect()
    (run,) = client.search_runs([experiment])
    table = json.loads(Path(client.download_artifacts(run.info.run_id, "evaluate/scores.json")).read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    return {
        "metrics": json.loads(evaluate.METRICS.read_text(encoding="utf-8")),
        "logged": run.data.metrics,
        "described": run.data.tags["mlflow.note.content"],
        "table": {row.pop("of"): row for row in rows},
        "pages": [
            read_html((paths.REPORT / "index.html").read_text(encoding="utf-8")),
            read_markdown((paths.REPORT / "report.md").read_text(encoding="utf-8")),
        ],
        "card": {
            (each.dataset_name, each.metric_type): each
            for each in ModelCard.load(paths.REPORT / "model_card.md").data.eval_results
        },
    }


def _find(tables: list[Table], title: str, dataset: str) -> str:
    """The cell of a metric and a dataset, of which one is the row and the other the column."""
    for header, *rows in tables:
        for row in rows:
            for name, column in ((dataset, title), (title, dataset)):
                if row[0] == name and column in header[1:]:
                    return row[header.index(column)]
    raise AssertionError(f"{title} of {dataset} is in no table")


def _format(scores: dict[str, float], name: str, digits: int = 1) -> str:
    if name not in scores:
        return "–"
    value = f"{scores[name]:.{digits}f}"
    low, high = scores.get(f"{name}_low"), scores.get(f"{name}_high")
    return value if low is None else f"{value} ({low:.{digits}f} – {high:.{digits}f})"


def test_the_numbers_of_every_metric_are_equal_everywhere(outputs: dict[str, Any]) -> None:
    _compare_transfer(outputs)
    metrics = outputs["metrics"]
    run_command([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], Path())
    shown = run_command([sys.executable, "-m", "dvc", "metrics", "show", "--json", str(evaluate.METRICS)], Path())
    (of_dvc,) = json.loads(shown.stdout)[""]["data"].values()
    results = outputs["card"]
    assert {metric["name"] for metric in metrics["metrics"]} == {metric.name for metric in ALL}
    assert "First letter, clean rows **" in outputs["described"].splitlines()[0]
    for source, title in SOURCES.items():
        for metric in ALL:
            _compare(metric, metrics[source], of_dvc["data"][source], outputs["table"][source])
            for tables in outputs["pages"]:
                assert _find(tables, metric.title, title) == _format(metrics[source], metric.name), metric.name
            if metric.name in metrics[source]:
                result = results[title, metric.name]
                assert result.metric_value == metrics[source][metric.name]
                bounds = {end: metrics[source].get(f"{metric.name}_{end}") for end in ("low", "high")}
                assert {end: result.metric_args.get(end) for end in bounds} == bounds
            else:
                assert (title, metric.name) not in results
    for metric in ALL:
        for tables in outputs["pages"]:
            assert _find(tables, metric.title, "All datasets") == _format(metrics["all"], metric.name)
        if metric.is_headline:
            assert outputs["logged"][f"evaluate/all/{metric.name}"] == metrics["all"][metric.name]


def _compare(metric: Metric, wanted: dict[str, Any], *others: dict[str, Any]) -> None:
    """A metric that is not of the rows' kind, such as one of open questions, is absent everywhere."""
    names = [metric.name, f"{metric.name}_low", f"{metric.name}_high"]
    names += [f"baseline_{metric.name}"] if metric.has_baseline else []
    for name in names:
        for other in others:
            assert other.get(name) == wanted.get(name), name
    assert metric.answer_type or metric.scores != "answer" or metric.name in wanted


def _compare_transfer(outputs: dict[str, Any]) -> None:
    for number, metric in enumerate(CLASSIFICATION_METRICS):
        value = VALUE - 0.125 * number
        for tables in outputs["pages"]:
            compared = [rows for header, *rows in tables if header[:3] == ["Dataset", "ours", "from scratch"]]
            assert any(
                row[:3] == ["Title of bench", f"{value:.3f}", f"{value - 0.5:.3f}"] for rows in compared for row in rows
            )
        if metric.is_headline:
            assert outputs["logged"][f"report/transfer/scratch/{metric.name}"] == value - 0.5
        assert outputs["card"]["Title of bench", metric.name].metric_value == value
