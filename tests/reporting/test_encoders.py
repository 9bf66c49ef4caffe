"""The encoders in the report: the same numbers on the page and in Markdown, and what may be compared."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq import paths
from openmedq.datasets.card import Card
from openmedq.evaluation import encoder_table
from openmedq.reporting import encoders, page
from openmedq.reporting.document import Document
from openmedq.reporting.published import BENCHMARK_FIGURES, ENCODERS, FIGURES
from openmedq.reporting.results import DatasetResult, Results
from openmedq.reporting.sections.transfer import describe_transfer
from tests.evaluation.test_encoder_table import make
from tests.reporting.tables import read_html, read_markdown

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
    return Results(datasets, None, None, (), {}, tree)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, quality in (("ours", 1.0), ("scratch", 0.1)):
        tables = [make(name, quality, benchmark=benchmark) for benchmark in BENCHMARKS]
        (paths.TRANSFER / name).mkdir(parents=True)
        pq.write_table(pa.concat_tables(tables), paths.TRANSFER / name / "predictions.parquet")


def test_the_page_and_markdown_show_the_same(project: None) -> None:
    results = make_results()
    section = encoders.describe(results)
    assert section is not None
    document = Document("", "", [], [describe_transfer(results)])
    markdown, html = page.render_markdown(document), page.render_html(document)
    shown = read_html(html)
    assert read_markdown(markdown) == shown
    assert len(shown) == len(section.tables) and sum(len(rows) for rows in shown) > 20
    for table, rows in zip(section.tables, shown, strict=True):
        assert f"### {table.title}\n" in markdown and f"<h3>{table.title}</h3>" in html
        for (_, cells), row in zip(table.rows, rows[1:], strict=True):
            for cell, text in zip(cells, row[1:], strict=True):
                assert text.startswith(cell.text) and " ".join(cell.span.split()) in text
    for words in ("0.500 (0.450 – 0.540)", "| linear probe | 0.410", "Title of cxr8: no test row has the class rare"):
        assert words in markdown
    assert "not in this run: Title of medfmc_endo" in markdown
    assert section.chart.count("<path") > 20 and "Macro-F1 of the encoders by benchmark" in section.chart


def test_what_may_be_compared_is_in_the_cells(project: None) -> None:
    section = encoders.describe(make_results())
    table = section.tables[0]
    assert table.columns == ("ours", "from scratch", "mine", "PubMedCLIP", "PMC-CLIP", "BiomedCLIP")
    rows = list(table.rows)
    notes = {rows[place][0]: row[1][0].note for place, row in enumerate(rows[1:]) if row[0] == encoders.PAPER}
    letters = (encoders.OWN_SPLIT, encoders.ALIKE, encoders.UNNAMED, encoders.NOT_RUN, encoders.UNNAMED)
    titles = [f"Title of {name}" for name in (*BENCHMARKS, "medfmc_endo")]
    assert notes == dict(zip([*titles, "Mean"], letters, strict=True))
    assert [cell.text for cell in rows[-1][1]] == ["0.757", "0.616", "", "0.746", "0.745", "0.745"]
    assert [letter for letter, _ in section.notes] == sorted({*letters})
    generated = encoders.describe(make_results("miniature"))
    assert generated is not None and {letter for letter, _ in generated.notes} == {encoders.GENERATED, encoders.NOT_RUN}


def test_differences_are_those_of_the_comparison(project: None) -> None:
    section = encoders.describe(make_results())
    table = section.tables[-1]
    assert table.title == "Macro-F1, ours minus from scratch"
    predictions = {name: pq.read_table(paths.TRANSFER / name / "predictions.parquet") for name in ("ours", "scratch")}
    compared = encoder_table.compare(predictions, "ours")["scratch"]
    for (_, cells), name in zip(table.rows, [*sorted(BENCHMARKS), None], strict=True):
        row = compared["benchmarks"][name] if name else compared["mean"]
        assert cells[0].text == f"{row['difference']:+.3f}" and cells[0].is_strong
        assert cells[1].text == f"{row['p']:.4f}"


def test_without_predictions_and_without_benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    section = encoders.describe(make_results())
    assert section is not None and not any("minus" in table.title for table in section.tables)
    empty = Results((), None, None, (), {}, {})
    assert encoders.describe(empty) is None
    (block,) = describe_transfer(empty).blocks
    assert "No benchmark is among the files of this run." in block.text


def test_the_papers_names_are_those_of_its_mean() -> None:
    mean = next(figure for figure in FIGURES if figure.source is None)
    assert sorted(name for name, _ in mean.others) == sorted(ENCODERS.values())
    assert {key for stated in BENCHMARK_FIGURES.values() for key in stated} <= {"ours", *ENCODERS}
