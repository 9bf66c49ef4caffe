"""The demo's page: answers are those of the evaluation."""

import re
from typing import Any

import pyarrow.parquet as pq
import pytest
import streamlit as st
from markupsafe import escape
from streamlit.testing.v1 import AppTest

from openmedq import demo
from openmedq.evaluation.evaluate import PREDICTIONS

from .conftest import SOURCES, Project

pytestmark = pytest.mark.xdist_group("end_to_end")


@pytest.fixture
def page(project: Project, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.chdir(project.root)
    st.cache_data.clear()
    return _run(AppTest.from_file(str(demo.PAGE), default_timeout=60))


def _run(page: AppTest) -> AppTest:
    page.run()
    assert not page.exception, page.exception
    return page


def _cards(page: AppTest) -> list[Any]:
    return [button for button in page.button if (button.key or "").startswith("card ")]


def _html(page: AppTest) -> str:
    return "".join(each.proto.body for each in page.get("html"))


def test_answers_are_those_of_the_evaluation(page: AppTest, project: Project) -> None:
    assert f"{len(SOURCES)} datasets. The answers are not medical advice." in page.text[0].value
    assert f"{len(SOURCES)} of these datasets are generated miniatures" in page.warning[0].value
    predictions = {row["id"]: row for row in pq.read_table(project.root / PREDICTIONS).to_pylist()}
    assert len(_cards(page)) > 10
    for number in range(3):
        card = _cards(page)[number]
        row = predictions[card.key.removeprefix("card ")]
        card.click()
        html = _html(_run(page))
        for name, text in (("With(?:out an| the) image", row["answer"] or "(empty)"), ("Reference", row["reference"])):
            assert re.search(rf'<th scope="row">{name}</th><td>{re.escape(str(escape(text)))}</td>', html), name
