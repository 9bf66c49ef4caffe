"""The index proposes what a comparison of all pairs finds."""

import random
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from openmedq.curate.near_texts import QuestionIndex
from openmedq.curate.questions import Question, compare
from openmedq.schema import SAMPLE_SCHEMA

TYPE = SAMPLE_SCHEMA.field("turns").type


def _to_turns(rows: list[list[Question]]) -> pa.ListArray:
    turns = [
        [
            {"question": q.question, "context": q.context, "options": q.options, "answer": q.answer, "alternatives": []}
            for q in row
        ]
        for row in rows
    ]
    return pa.array(turns, TYPE)


def _draw(number: int) -> list[Question]:
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdeghimnorstuß", k=draw.randint(3, 9))) for _ in range(400)]
    frequencies = [1 / rank for rank in range(5, 405)]
    texts = [" ".join(draw.choices(words, frequencies, k=draw.randint(8, 30))) for _ in range(2 * number)]
    return [
        Question(f"{text}?", context, (), "lung") for text, context in zip(texts[::2], ["", *texts[3::2]], strict=True)
    ]


def _edit(question: Question, draw: random.Random) -> Question:
    words = question.question.split()
    words[draw.randrange(1, len(words))] = "other"
    return replace(question, question=f"{draw.randint(1, 20)}) {' '.join(words).upper()}")


def test_the_index_finds_what_all_pairs_find() -> None:
    asked = _draw(120)
    draw = random.Random(1)
    trained = [_edit(question, draw) for question in asked] + [replace(asked[0], answer="liver")] + asked[:5]
    expected = {
        (row, other, share)
        for row, one in enumerate(trained)
        for other, two in enumerate(asked)
        if (share := compare(two, one)) is not None
    }
    assert len(expected) > 100
    index = QuestionIndex(_to_turns([[question] for question in asked]), np.arange(len(asked)))
    turns = _to_turns([[question] for question in trained])
    assert set(index.find(turns)) == expected
    found = [
        (row + start, other, share) for start in (0, 50) for row, other, share in index.find(turns[start : start + 50])
    ]
    assert set(found) == {each for each in expected if each[0] < 100}, "a slice has offsets of its own"


def test_rows_of_several_turns() -> None:
    first, second, third = _draw(3)
    index = QuestionIndex(_to_turns([[first], [second, third]]), np.array([7, 9]))
    assert list(index.find(_to_turns([[], [first, third]]))) == [(1, 7, 1.0), (1, 9, 1.0)]


def test_html_makes_no_difference() -> None:
    question, other = _draw(2)
    marked = replace(question, question=f"<p>{question.question}</p>".replace(" ", "&nbsp;"), answer="lu<b>n</b>g")
    index = QuestionIndex(_to_turns([[question], [other]]), np.arange(2))
    assert list(index.find(_to_turns([[other], [marked]]))) == [(0, 1, 1.0), (1, 0, 1.0)]


def test_chinese_is_indexed_by_its_characters() -> None:
    question = Question("患者女性,45岁,因右上腹绞痛和黄疸就诊。最可能的诊断是什么?", "", (), "胆囊炎")
    marked = replace(question, question=question.question.replace(",", "，").replace("?", "？"))
    index = QuestionIndex(_to_turns([[question]]), np.arange(1))
    assert list(index.find(_to_turns([[marked]]))) == [(0, 0, 1.0)]


@pytest.mark.parametrize("texts", [[], [""], ["...", "?"], ["lung"]])
def test_texts_without_pairs_of_words(texts: list[str]) -> None:
    turns = _to_turns([[Question(text, "", (), "lung")] for text in texts])
    assert list(QuestionIndex(turns, np.arange(len(texts))).find(turns)) == []
