"""The demo's page: answers are those of the evaluation, and only open records are shown."""

import io
from pathlib import Path

import PIL.Image
import pyarrow.parquet as pq
import pytest
import streamlit as st
import yaml
from streamlit.testing.v1 import AppTest

from openmedq import demo, paths
from openmedq.evaluation.evaluate import PREDICTIONS

from .conftest import SOURCES, Project

pytestmark = [pytest.mark.xdist_group("end_to_end"), pytest.mark.timeout(900)]


@pytest.fixture
def page(project: Project, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.chdir(project.root)
    st.cache_data.clear()
    return _run(AppTest.from_file(str(demo.PAGE), default_timeout=60))


def _run(page: AppTest) -> AppTest:
    page.run()
    assert not page.exception, page.exception
    return page


def _ask(page: AppTest) -> dict[str, str]:
    """Press the button; the texts by their titles."""
    page.button[0].click()
    _run(page)
    titles = [caption.value for caption in page.caption[1:]]
    return dict(zip(titles, [text.value for text in page.text[-len(titles) :]], strict=True))


def test_answers_are_those_of_the_evaluation(page: AppTest, project: Project) -> None:
    assert f"{len(SOURCES)} datasets. The answers are not medical advice." in page.caption[0].value
    assert f"{len(SOURCES)} of these datasets are generated miniatures" in page.warning[0].value
    predictions = {row["id"]: row for row in pq.read_table(project.root / PREDICTIONS).to_pylist()}
    assert len(page.selectbox[0].options) > 10
    for label in page.selectbox[0].options[:3]:
        page.selectbox[0].select(label)
        texts = _ask(_run(page))
        row = predictions[label.split(": ", 1)[0]]
        assert texts["Answer of the model"] == (row["answer"] or "(empty)")
        assert texts["Reference"] == row["reference"]


def test_records_of_credentialed_datasets_are_not_listed(
    page: AppTest, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert any(label.startswith("vqa_rad/") for label in page.selectbox[0].options)
    catalogue = yaml.safe_load((project.root / paths.CATALOGUE).read_text(encoding="utf-8"))
    catalogue["datasets"]["vqa_rad"]["access"] = "credentialed"
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump(catalogue), encoding="utf-8")
    monkeypatch.setattr(paths, "CATALOGUE", tmp_path / "catalogue.yaml")
    st.cache_data.clear()
    assert not any(label.startswith("vqa_rad/") for label in _run(page).selectbox[0].options)


def test_own_images_and_errors(page: AppTest) -> None:
    page.radio[0].set_value("own images")
    _run(page)
    buffer = io.BytesIO()
    PIL.Image.new("L", (64, 64), 90).save(buffer, "PNG")
    page.file_uploader[0].upload("mine.png", buffer.getvalue(), "image/png")
    _run(page)
    page.text_area[0].input("What is it?")
    assert _ask(page).keys() == {"Answer of the model", "Answer to a black image"}
    page.file_uploader[0].upload("no.png", b"no image", "image/png")
    assert "no.png: image unreadable" in _run(page).error[0].value
    page.radio[0].set_value("no image")
    _run(page).text_area[0].input("")
    page.button[0].click()
    assert _run(page).error[0].value == "Enter a question or choose an image."
