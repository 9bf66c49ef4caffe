from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq import paths
from openmedq.config import Local
from openmedq.datasets.card import Card
from openmedq.evaluation import encoder_table
from openmedq.reporting import page
from openmedq.reporting.document import Document, Figure, Heading, Section, Table, Text, format_number
from openmedq.reporting.published import ENCODERS, MEAN_MACRO_F1
from openmedq.reporting.results import DatasetResult, Results
from openmedq.reporting.sections import transfer
from openmedq.reporting.sections.transfer import show_transfer
from tests.evaluation.test_encoder_table import make

BENCHMARKS = ("breast_ultrasound", "cxr8", "blood_mnist")


def make_results(origin: str = "mirror") -> Results:
    def score(value: float) -> dict[str, float]:
        return {
            f"{name}{end}": value + shift
            for name in ("macro_f1", "balanced_accuracy", "auroc")
            for end, shift in (("", 0.0), ("_low", -0.05), ("_high", 0.04))
        }

    names = ("ours", "scratch", "mine")
    tree: dict[str, Any] = {"metrics": encoder_table.describe_metrics()}
    for place, benchmark in enumerate(BENCHMARKS):
        tree[benchmark] = {name: score(0.5 + 0.1 * place + 0.01 * number) for number, name in enumerate(names)}
        tree[benchmark] |= {"num_test_rows": 60, "classes_without_test_rows": ["rare"] * (place == 1)}
    tree["mean"] = {name: score(0.6 + 0.01 * number) for number, name in enumerate(names)}
    tree["mean_of_frozen"] = {name: {"linear_probe": score(0.41), "few_shot_1": score(0.31)} for name in names}
    cards = {
        name: Card.model_construct(
            id=name,
            kind="benchmark",
            title=f"Title of {name}",
            fitted=() if name == "breast_ultrasound" else ("train",),
        )
        for name in (*BENCHMARKS, "medfmc_endo")
    }
    datasets = tuple(DatasetResult(card, origin, "present") for card in cards.values())
    return Results(datasets, None, {}, tree)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, quality in (("ours", 1.0), ("scratch", 0.1)):
        tables = [make(name, quality, benchmark=benchmark) for benchmark in BENCHMARKS]
        (paths.TRANSFER / name).mkdir(parents=True)
        pq.write_table(pa.concat_tables(tables), paths.TRANSFER / name / "predictions.parquet")


def show(results: Results) -> dict[str, Table]:
    blocks = list(show_transfer(results))
    return {
        heading.text: table
        for heading, table in pairwise(blocks)
        if isinstance(heading, Heading) and isinstance(table, Table)
    }


def test_scores_absent_classes_and_missing_benchmarks_are_shown(project: None) -> None:
    document = Document("", "", [], [Section("transfer", "Transfer", list(show_transfer(make_results())))])
    markdown = page.render_markdown(document)
    for words in ("0.500 (0.450 – 0.540)", "| linear probe | 0.410", "Title of cxr8: no test row has the class rare"):
        assert words in markdown
    (chart,) = document.find(Figure)
    assert chart.svg.count("<path") > 20 and "Macro-F1 of the encoders by benchmark" in chart.svg


def test_what_may_be_compared_stands_beside_the_scores(project: None) -> None:
    table = next(iter(show(make_results()).values()))
    assert table.header == ["Dataset", "ours", "from scratch", "mine", "Paper", "Comparable?"]
    stated = {row[0].text: [cell.text for cell in row[4:]] for row in table.rows}
    names = (*BENCHMARKS, "medfmc_endo")
    papers = ("OpenMedQ 0.876, best other 0.915", "OpenMedQ equal to PMC-CLIP", "not named", "OpenMedQ best of all")
    reasons = ("the dataset has no published split", "the same dataset and metric", "the notes on", "not in this run")
    for name, paper, reason in zip(names, papers, reasons, strict=True):
        assert stated[f"Title of {name}"][0] == paper and stated[f"Title of {name}"][1].startswith(reason)
    assert stated["Mean"] == [
        "of eight: OpenMedQ 0.757, PubMedCLIP 0.746, PMC-CLIP 0.745, BiomedCLIP 0.745, from scratch 0.616",
        transfer.UNNAMED,
    ]
    generated = next(iter(show(make_results("miniature")).values()))
    assert {row[-1].text for row in generated.rows} == {transfer.GENERATED, "not in this run"}


def test_differences_are_those_of_the_comparison(project: None) -> None:
    table = show(make_results())["Macro-F1, ours minus from scratch"]
    predictions = {name: pq.read_table(paths.TRANSFER / name / "predictions.parquet") for name in ("ours", "scratch")}
    compared = encoder_table.compare(predictions, "ours")["scratch"]
    for own, name in zip(table.rows, [*sorted(BENCHMARKS), None], strict=True):
        row = compared["benchmarks"][name] if name else compared["mean"]
        _, difference, p, _ = own
        assert difference.text == format_number(row["difference"], 3, is_signed=True) and "strong" in difference.kind
        assert p.text == f"{row['p']:.4f}"


def test_a_local_benchmark_has_no_figure_of_the_paper_and_is_in_no_mean(project: None) -> None:
    results = make_results()
    first, second, *rest = results.datasets
    local = Local(folder="own", task="classification", is_benchmark=True)
    own = replace(second, card=first.card.model_copy(update={"id": second.card.id, "title": "Own", "local": local}))
    results = replace(results, datasets=(first, own, *rest))
    tables = show(results)
    rows = [[cell.text for cell in row] for row in next(iter(tables.values())).rows]
    (own_row,) = (row for row in rows if row[0] == "Own")
    assert own_row[1] == "0.600" and own_row[-2:] == ["–", "–"]
    predictions = {name: pq.read_table(paths.TRANSFER / name / "predictions.parquet") for name in ("ours", "scratch")}
    published = [data.card.id for data in (first, *rest)]
    mean = encoder_table.compare(predictions, "ours", published)["scratch"]["mean"]
    assert tables["Macro-F1, ours minus from scratch"].rows[-1][1].text == format_number(
        mean["difference"], 3, is_signed=True
    )
    texts = [block.text for block in show_transfer(results) if isinstance(block, Text)]
    assert "the means are without Own: they are over published datasets." in texts


def test_without_predictions_and_without_benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tables = show(make_results())
    assert tables and not any("minus" in title for title in tables)
    (block,) = show_transfer(Results((), None, {}, {}))
    assert isinstance(block, Text) and "No benchmark is among the files of this run." in block.text


def test_the_papers_names_are_those_of_its_mean() -> None:
    assert MEAN_MACRO_F1.keys() == {"ours", *ENCODERS}
