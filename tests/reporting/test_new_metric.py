"""A metric that is added to the table appears in predictions, metrics.json, MLflow, the report and the summary."""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from openmedq import paths
from openmedq.evaluation import evaluate
from openmedq.evaluation.generate import Answer
from openmedq.evaluation.metrics import METRICS
from openmedq.evaluation.metrics.metric import Metric
from openmedq.reporting import report, summary
from openmedq.schema import Sample
from tests.curate.corpus import make_params
from tests.recorded import Recorded
from tests.stages.results import replace_model, reply, write_learning, write_run


def first_letter(answer: str, references: Sequence[str]) -> float:
    """1.0 if the answer begins like a reference."""
    return float(any(answer[:1] == reference[:1] for reference in references))


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """What a run logged, with one more metric."""
    monkeypatch.chdir(tmp_path)
    toy = Metric("first_letter", "First letter", first_letter, is_headline=True, has_baseline=True)
    replace_model(monkeypatch, _answer)
    logged = Recorded()
    write_run()
    METRICS.append(toy)
    try:
        evaluate.run(make_params(evaluate={"max_new_tokens": 4, "num_resamples": 50}), logged)
    finally:
        METRICS.remove(toy)
    write_learning()
    report.run(make_params(), logged)
    return logged


def _answer(samples: Sequence[Sample]) -> Iterator[Answer]:
    yield from (reply("yes") for _ in samples)


def test_a_new_metric_is_scored_logged_and_shown(finished: Recorded) -> None:
    metrics: dict[str, Any] = json.loads(evaluate.METRICS.read_text(encoding="utf-8"))
    scores = metrics["open_vqa"]
    assert 0 < scores["first_letter_low"] <= scores["first_letter"] < 100
    assert finished.metrics["all/first_letter"] == metrics["all"]["first_letter"]
    rows = pq.read_table(evaluate.PREDICTIONS).to_pylist()
    for name, answer in (("first_letter", "answer"), ("baseline_first_letter", "baseline_answer")):
        own = [first_letter(row[answer], [row["reference"]]) for row in rows if row["source"] == "open_vqa"]
        assert scores[name] == pytest.approx(100 * sum(own) / len(own), abs=1e-4)

    page = (paths.REPORT / "index.html").read_text(encoding="utf-8")
    assert page.count('<th class="number">First letter</th><th class="number">Majority baseline</th>') == 1
    assert "<dt>First letter, clean rows</dt>" in page
    assert "First letter by dataset in percent, with the majority baseline" in page  # a chart of its own
    low, high = scores["first_letter_low"], scores["first_letter_high"]
    assert f'{scores["first_letter"]:.1f} <span class="span">{low:.1f}\u2009–\u2009{high:.1f}</span>' in page

    assert "| First letter, clean rows | **" in finished.description
    assert "First letter, clean rows **" in finished.description.splitlines()[0]

    file = io.StringIO()
    summary.show(Console(file=file, width=120))
    assert f"{scores['first_letter']:.1f} ({low:.0f}-{high:.0f})" in file.getvalue()
