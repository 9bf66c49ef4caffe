"""The page: examples that can be clicked, the answer beside the reference, bars, training rows, one-line errors."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import PIL.Image
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from openmedq import paths
from openmedq.demo import PAGE, replies
from openmedq.demo.drawing import escape_markdown
from openmedq.demo.replies import Reply
from openmedq.errors import ModelError
from openmedq.evaluation.generate import LENGTH
from openmedq.schema import Sample, Task
from tests.stages.results import reply
from tests.storage.drawing import save

ASKED: list[Sample] = []
HOSTILE = "<img src=http://evil.example/x.png> ![x](http://evil.example/x.png)"


class FakeModel(SimpleNamespace):
    def ask(self, sample: Sample) -> list[Reply]:
        ASKED.append(sample)
        own = Reply(reply(HOSTILE), {"yes": 0.75, "no": 0.25}, 0.5)
        blind = Reply(reply("no")._replace(stop=LENGTH, is_cut=True), {"yes": 0.0001, "no": 0.9999}, 0.5)
        return [own, blind] if sample.images else [own]


@pytest.fixture
def page(finished: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    monkeypatch.setattr(replies, "Model", lambda *_: FakeModel())
    st.cache_data.clear()
    st.cache_resource.clear()
    yield AppTest.from_file(str(PAGE), default_timeout=60).run()
    st.cache_data.clear()
    st.cache_resource.clear()


def _html(page: AppTest) -> str:
    return "".join(each.proto.body for each in page.get("html"))


def _cards(page: AppTest) -> list[Any]:
    return [each for each in page.button if (each.key or "").startswith("card ")]


def _headings(page: AppTest) -> list[str]:
    return [each.value for each in page.header]


def test_it_shows_examples_of_open_datasets(page: AppTest) -> None:
    assert not page.exception and not page.error
    assert len(_cards(page)) == 11
    assert {each.label.partition("\\:")[0] for each in _cards(page)} == {r"open\_vqa", r"open\_text"}
    assert 'alt="Image of open_vqa/' in _html(page)
    assert _headings(page) == []
    assert page.text[0].value == "Trained on 34 rows of 2 datasets. The answers are not medical advice."
    assert page.warning[0].value == "1 of these datasets are generated miniatures without medical content."


def test_a_click_on_an_example_asks_its_question(page: AppTest) -> None:
    card = _cards(page)[2]
    card.click().run()
    row_id = card.key.removeprefix("card ")
    assert not page.exception and not page.error
    assert any(each.value.startswith(f"{row_id}: rows.json") for each in page.text)
    assert _headings(page) == ["Answer", "Probability of the options", "Nearest training rows"]
    html = _html(page)
    assert '<th scope="row">With a gray image</th><td>no</td><td>50.0%; not ended after 1 tokens; the prompt' in html
    assert '<th scope="row">Reference</th>' in html
    assert '75.0%<span class="bar" style="width: 75.0%"' in html
    assert "with the image 50.0%, with a gray image 50.0%" in html
    assert '<th scope="row">1.00</th>' in html and "licence CC0-1.0" in html
    assert "secret" not in html


def test_an_own_image_has_no_reference(page: AppTest) -> None:
    page.radio[0].set_value("own images, or none").run()
    assert ".jp2" in page.file_uploader[0].proto.type
    page.file_uploader[0].upload("mine.png", save(PIL.Image.new("L", (64, 64), 90), "PNG"), "image/png").run()
    page.text_area[0].input(f"What is it? {'x' * 5000}")
    page.button[-1].click().run()
    assert "What is it? x" in _html(page) and "x" * 300 not in _html(page)
    assert "With the image" in _html(page) and "With a gray image" in _html(page)
    assert "Reference" not in _html(page)
    assert ASKED[-1].task is Task.VQA
    page.text_area[1].input("lung\n\n heart ")
    page.button[-1].click().run()
    assert ASKED[-1].turns[-1].options == ("lung", "heart") and ASKED[-1].task is Task.MULTIPLE_CHOICE
    page.file_uploader[0].upload("no.png", b"no image", "image/png").run()
    assert "image unreadable" in page.error[0].value


def test_texts_of_the_model_are_not_interpreted(page: AppTest) -> None:
    _cards(page)[0].click().run()
    assert "&lt;img src=http://evil.example" in _html(page)
    assert "<img src=http" not in _html(page)
    assert not any(HOSTILE in each.value for each in page.markdown)


def test_a_question_needs_words_or_an_image(page: AppTest) -> None:
    page.radio[0].set_value("own images, or none").run()
    page.button[-1].click().run()
    assert [each.value for each in page.error] == ["Enter a question or choose an image."]


def test_an_error_is_one_line(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ModelError(f"{paths.MODEL}: no model there; run `dvc repro`, which trains it")

    monkeypatch.setattr(replies, "Model", fail)
    _cards(page)[0].click().run()
    assert [each.value for each in page.error] == ["data/model: no model there; run `dvc repro`, which trains it"]
    assert not page.exception


def test_labels_are_shown_as_they_are() -> None:
    assert escape_markdown("a_b\n:red[x]") == r"a\_b \:red\[x\]"
