import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq import paths
from openmedq.evaluation import evaluate
from openmedq.reporting.document import format_number
from openmedq.reporting.page import compose, escape_markdown
from openmedq.reporting.results import read_results
from openmedq.storage import timing
from tests.reporting.parts import add_parts, write
from tests.reporting.tables import Table, read_html, read_markdown

pytestmark = pytest.mark.usefixtures("finished")

OPTIONAL = ("Controls without the image", "Clean rows", "Zero-shot classification", "Calibration of closed answers")


def find(page: str, *header: str) -> Table:
    return next(rows for first, *rows in read_html(page) if first[: len(header)] == list(header))


class Parts(NamedTuple):
    """The report of a run with all parts, in both forms, its metrics.json and its folder."""

    page: str
    text: str
    tree: dict[str, Any]
    folder: Path


@pytest.fixture(scope="module")
def parts(_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    root = shutil.copytree(_run, tmp_path_factory.mktemp("parts") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        tree = add_parts()
        return Parts(*write(), tree, root / paths.REPORT)


def set_columns(**columns: list[Any]) -> int:
    """Change columns of predictions.parquet; return the number of rows."""
    rows = pq.read_table(evaluate.PREDICTIONS)
    for name, values in columns.items():
        place = rows.schema.get_field_index(name)
        filled = values + [values[-1]] * (len(rows) - len(values))
        rows = rows.set_column(place, rows.schema.field(place), pa.array(filled, rows.schema.field(place).type))
    pq.write_table(rows, evaluate.PREDICTIONS)
    return len(rows)


def test_own_datasets_are_not_counted_among_those_of_the_paper() -> None:
    results = read_results()
    own = replace(results.sources[0], origin="local", state="present")
    num_others = sum(each.is_present for each in results.sources[1:])
    datasets = [own if each is results.sources[0] else each for each in results.datasets]
    lead = compose(replace(results, datasets=tuple(datasets)), ()).lead
    assert f"uses {num_others} of the paper’s 14 sources and 1 of your own: " in lead


def test_both_forms_have_the_same_tables(parts: Parts) -> None:
    in_page = read_html(parts.page)
    headlines, *in_text = read_markdown(parts.text)
    in_text = [rows for rows in in_text if rows[0][1] not in ("Question", "Training row")]  # articles in the page
    assert len(in_page) > 12
    filled = [[row + [""] * (len(rows[0]) - len(row)) for row in rows] for rows in in_page]
    assert in_text == filled
    assert headlines[0][:3] == ["Score", "Value", "Interval"]


def test_a_run_without_the_parts_names_them() -> None:
    tree = json.loads(evaluate.METRICS.read_text(encoding="utf-8"))
    for name in ("controls", "zero_shot", "calibration"):
        tree.pop(name, None)
    for scores in tree.values():
        if isinstance(scores, dict):
            scores.pop("clean", None)
    evaluate.METRICS.write_text(json.dumps(tree), encoding="utf-8")
    page, text = write()
    for title in OPTIONAL:
        assert f"<h2>{title}</h2>" not in page and f"## {title}\n" not in text
    missing = dict(row for row in find(page, "What", "Reason"))
    assert missing["Controls without the image"] == "the evaluation has none (evaluate.controls)"
    assert missing["Zero-shot classification"] == "the evaluation has none (evaluate.zero_shot_rows)"
    assert missing["Title of absent_vqa"] == "absent"
    assert missing["Encoder: BiomedCLIP"] == "transfer.encoders does not name it"


def test_a_run_with_all_parts_shows_them(parts: Parts) -> None:
    page, text, *_ = parts
    assert page.count("<main>") == 1 and '<th scope="row"></th>' not in page
    for title in OPTIONAL:
        assert f"<h2>{title}</h2>" in page and f"## {title}\n" in text
        assert title not in dict(find(page, "What", "Reason"))
    assert "<dt>Exact match, clean rows</dt>" in page


def test_controls_stand_beside_their_difference(parts: Parts) -> None:
    scores = parts.tree["controls"]["blank"]["open_vqa"]
    header = ["Exact match", "Rows", "Blank image", "Difference"]
    row = next(row for row in find(parts.page, *header) if row[0] == "Title of open_vqa")
    value, difference = scores["exact_match"], scores["difference_exact_match"]
    assert row[:2] == ["Title of open_vqa", str(scores["num_rows"])]
    assert row[2] == f"{value:.1f} ({value - 4.5:.1f} – {value + 4.5:.1f})"
    assert row[3] == f"+{difference:.1f} (+{difference - 4.5:.1f} to +{difference + 4.5:.1f})"


def test_clean_rows_stand_beside_all_rows_with_the_difference(parts: Parts) -> None:
    tree = parts.tree
    row = next(row for row in find(parts.page, "Dataset", "Rows", "Clean rows") if row[0] == "All datasets")
    assert row[1:3] == [str(tree["all"]["num_rows"]), str(tree["all"]["num_rows"] - 1)]
    assert row[4].startswith(f"{tree['all']['clean']['bleu_1']:.1f} (")
    assert row[5] == "\N{MINUS SIGN}2.2 (\N{MINUS SIGN}6.8 to +2.2)"


def test_zero_shot_stands_beside_the_fine_tuned_score() -> None:
    add_parts()
    transfer = paths.TRANSFER / "ours" / "metrics.json"
    tree = json.loads(transfer.read_text(encoding="utf-8"))
    tree["bench"]["ours"]["balanced_accuracy"] = 0.75
    transfer.write_text(json.dumps(tree), encoding="utf-8")
    row = find(write()[0], "Balanced accuracy", "Rows", "Likelihood", "Similarity", "Fine-tuned")[0]
    assert row == ["Title of bench", "40", "0.512 (0.462 – 0.562)", "0.438 (0.388 – 0.487)", "0.750"]


def test_calibration_has_its_bins_and_its_error(parts: Parts) -> None:
    assert "expected calibration error is <strong>0.082</strong>" in parts.page
    rows = find(parts.page, "Confidence", "Rows", "Mean confidence", "Accuracy")
    assert rows[0] == ["0.20 – 0.40", "20", "0.300", "0.150"] and len(rows) == 4


def test_the_cost_is_counted_and_timed() -> None:
    training = find(write()[0], "Stage", "Counts")[0]
    assert training == ["Training", "3 updates, 24 samples, loss 0.500", "not recorded", "–", "–"]
    with timing.record("train", paths.TRAINING / "metrics.json", "NVIDIA H100", 8):
        pass
    path = paths.TIMINGS / "train.json"
    line = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(line | {"seconds": 5400.0}), encoding="utf-8")
    num_rows = set_columns(num_tokens=[7], stop=["length", "length", "end"], is_cut=[True, False])
    training, evaluation, *_ = find(write()[0], "Stage", "Counts")
    assert training[2:] == ["8 × NVIDIA H100", "1 h 30 min", "12.00"]
    counts = f"{num_rows} answers, {7 * num_rows} tokens generated, 1 prompt cut, 2 answers cut"
    assert evaluation[1] == counts


def test_the_markdown_shows_the_images_beside_it(parts: Parts) -> None:
    linked = {part.split(")")[0] for part in parts.text.split("](figures/")[1:]}
    assert linked == {path.name for path in (parts.folder / "figures").iterdir()}
    assert {"calibration.svg", "example-1-1.jpg"} <= linked
    assert (parts.folder / "figures/example-1-1.jpg").read_bytes().startswith(b"\xff\xd8")


def test_texts_of_records_are_no_markup(parts: Parts) -> None:
    assert "Is &lt;b&gt;it&lt;/b&gt; large?" in parts.page
    assert r"Is \<b\>it\</b\> large?" in parts.text
    assert escape_markdown("a | b\n# [c](d) `e` *f*") == r"a \| b \# \[c\](d) \`e\` \*f\*"


@pytest.mark.parametrize(
    ("value", "is_signed", "wanted"),
    [(2.25, True, "+2.2"), (-0.01, True, "0.0"), (0, True, "0.0"), (-3, False, "\N{MINUS SIGN}3.0"), (3, False, "3.0")],
)
def test_a_number_has_a_sign_if_it_is_a_difference(value: float, is_signed: bool, wanted: str) -> None:
    assert format_number(value, 1, is_signed) == wanted
