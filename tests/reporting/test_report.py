import json
import re
from pathlib import Path

import pytest

from openmedq import paths
from openmedq.evaluation import evaluate
from openmedq.reporting import published
from openmedq.storage.publish import remove
from tests.reporting.parts import write
from tests.stages.results import call_miniatures, write_transfer

pytestmark = pytest.mark.usefixtures("finished")

SECRET = "secret_vqa side"  # in answers of the credentialed dataset


@pytest.fixture(scope="module")
def page(_run: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(_run)
        text, _ = write(num_examples=100)
        remove(paths.REPORT)
    return text


def test_the_page_needs_no_other_file(page: str) -> None:
    assert set(re.findall(r'src="(.{5})', page)) == {"data:"}
    assert not re.search(r"<script|<link|<iframe|@import|url\((?!#)|(?!\n)[\x00-\x1f]", page)


def test_an_encoder_on_other_benchmarks_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    write_transfer("old_one", {"macro_f1": 0.5}, more={})
    assert '"number">old_one' not in write()[0]
    assert "old_one/metrics.json: is not shown, because its benchmarks differ" in caplog.text


def test_what_may_not_be_shown_is_not_shown(page: str) -> None:
    assert "open_vqa side" in page
    assert SECRET not in page
    assert "secret_vqa/" not in page
    num_open_images = 8
    assert page.split('<section id="examples">')[1].count("<img ") == num_open_images
    assert page.count('<article class="example">') == num_open_images + 3  # the rows without an image


def test_the_definitions_of_bleu_1_stand_beside_each_other_and_what_they_may_be_held_against(page: str) -> None:
    scores = json.loads(evaluate.METRICS.read_text(encoding="utf-8"))
    definitions = [metric for metric in scores["metrics"] if metric["family"]]
    assert len(definitions) == 8
    assert "BLEU-1 of the same answers by definition, in percent" in page  # the chart
    names = {metric["name"] for metric in definitions}
    for each in published.FIGURES:
        assert set(each.metrics) <= names
        assert f'<th scope="row">{each.name}</th><td class="number">{each.value}</td>' in page
        assert each.source not in page
    assert page.count("; not in this run</td>") == len(published.FIGURES)


def test_examples_are_right_and_wrong_ones_of_all_open_sources() -> None:
    page, _ = write(num_examples=4)
    marks = re.findall(r'<dd class="(good|bad)">', page)
    assert marks == ["good", "bad", "good", "good"]  # images first; of the texts none is wrong
    assert "open_text/" in page
    assert "open_vqa/" in page


@pytest.mark.parametrize("name", ["open_vqa", "open_text"])
def test_the_waterfall_holds_every_number(name: str, page: str) -> None:
    waterfall = json.loads((paths.MIX / "waterfall.json").read_text(encoding="utf-8"))[name]
    row = re.search(rf'<th scope="row">Title of {name}</th>\s*<td>local folder</td>(.*?)</tr>', page, re.DOTALL)
    numbers = re.findall(r'<td class="number[^"]*">([^<]*)</td>', row[1])
    mix = waterfall["mix"]
    sums = [sum(waterfall[step].values()) for step in ("rejected", "duplicate", "kept_out")]
    wanted = [waterfall["found"], waterfall["read"], *sums, mix.get("train"), mix.get("validation"), mix["evaluation"]]
    assert numbers == [str(number) if number else "–" for number in wanted]
    assert "rejected: image missing" in page


def _change_waterfall(name: str, **entries: object) -> None:
    path = paths.MIX / "waterfall.json"
    tree = json.loads(path.read_text(encoding="utf-8"))
    tree[name] |= entries
    path.write_text(json.dumps(tree), encoding="utf-8")


def test_sets_that_are_not_asked_say_why() -> None:
    _change_waterfall("absent_vqa", reason="licence unknown (policy.licences is research)")
    _change_waterfall("open_text", mix={"train": 1})
    metrics = paths.EVALUATION / "metrics.json"
    scores = json.loads(metrics.read_text(encoding="utf-8"))
    metrics.write_text(json.dumps({name: each for name, each in scores.items() if name != "open_text"}))
    page, _ = write()
    assert '<td class="why">absent: licence unknown (policy.licences is research)</td>' in page
    assert '<td class="none">absent</td>' in page
    reason = '<th scope="row">Answers to Title of open_text</th><td class="why">its evaluation rows are excluded</td>'
    assert reason in page


def test_the_papers_figures_stand_beside_and_never_compare_with_a_miniature() -> None:
    call_miniatures()
    page, _ = write()
    for value in published.MEAN_MACRO_F1.values():
        assert f"{value:.3f}" in page
    assert "These are scores on generated miniatures." in page
    assert '<td class="why">ours is of a generated miniature: not comparable</td>' in page


def test_a_part_of_the_published_test_does_not_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = [published.Published("open_vqa", "open_vqa, other", 75.9, ("bleu_1",), "the same code")]
    monkeypatch.setattr("openmedq.reporting.sections.answers.FIGURES", figures)
    assert "rows, the published test has" not in write()[0]
    catalogue = paths.CATALOGUE.read_text(encoding="utf-8")
    paths.CATALOGUE.write_text(catalogue.replace("test: 8", "test: 800"), encoding="utf-8")
    assert "the same code; ours is of 8 rows, the published test has 800: not comparable" in write()[0]


def test_missing_pieces_are_said() -> None:
    remove(paths.EVALUATION / "predictions.parquet")
    assert "Answers to the evaluation splits" in write()[0]
    for path in (paths.EVALUATION / "metrics.json", paths.TRANSFER, paths.TRAINING):
        remove(path)
    page, _ = write()
    for words in ("No scores", "No benchmark"):
        assert words in page
