"""The generated miniature of VQA-RAD."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openmedq.datasets.vqa_rad import IMAGES, QUESTIONS, card
from openmedq.synthetic.draw import (
    Figure,
    draw,
    draw_figures,
    draw_uuid,
    encode_jpeg,
    generator,
    shared_figure,
    with_shared_figure,
)
from openmedq.synthetic.files import save


class _Property(NamedTuple):
    """A question about one property of a figure, in two wordings. Each of k answers is correct for 1 of k figures."""

    question_type: str
    question: str
    rephrased: str
    answer_type: str


_PROPERTIES = (
    _Property("POS", "Where is the mass?", "Where is the mass located?", "OPEN"),
    _Property("ORGAN", "Which organ is shown?", "Which organ is shown in this image?", "OPEN"),
    _Property("COUNT", "How many clips are seen?", "How many clips are there?", "OPEN"),
    _Property("SIZE", "Is the mass large?", "Is this mass large?", "CLOSED"),
    _Property("ATTRIB", "Is the background bright?", "Is the image background bright?", "CLOSED"),
)
_ORGAN_CODES = {"head": "HEAD", "chest": "CHEST", "abdomen": "ABD"}
_NUM_TRAIN_ROUNDS = 3
_NUM_ASKED = 3  # of the five properties, per training image


class _Case(NamedTuple):
    figure: Figure
    image_name: str
    url: str


def write(raw: Path, seed: int = 0) -> None:
    """Write the layout of OSF: three rounds of training images, and one round of new images with all test questions."""
    random = generator(seed, card.id, "records")
    train_figures = draw_figures(seed, f"{card.id} train", _NUM_TRAIN_ROUNDS)
    test_figures = with_shared_figure(draw_figures(seed, f"{card.id} test", 1), seed)
    names = iter(random.choice(np.arange(10_000, 60_000), len(train_figures) + len(test_figures) + 1, replace=False))
    train = [_Case(figure, f"synpic{next(names)}.jpg", _case_url(random)) for figure in train_figures]
    train[1::7] = [case._replace(url=train[7 * i].url) for i, case in enumerate(train[1::7])]  # two images, one case
    test = [_Case(figure, f"synpic{next(names)}.jpg", _case_url(random)) for figure in test_figures]

    for case in (*train, *test):
        save(raw / IMAGES / case.image_name, encode_jpeg(draw(case.figure)))
    unasked = replace(shared_figure(seed), texture=int(random.integers(2**62)))
    save(raw / IMAGES / f"synpic{next(names)}.jpg", encode_jpeg(draw(unasked)))

    records = _ask(train, test, random)
    _add_irregularities(records)
    save(raw / QUESTIONS, json.dumps(records, indent=2) + "\n")


def _ask(train: list[_Case], test: list[_Case], random: np.random.Generator) -> list[dict[str, Any]]:
    records = []
    for index, case in enumerate(train):
        for step in range(_NUM_ASKED):
            asked = _PROPERTIES[(index + step) % len(_PROPERTIES)]
            records += _record(case, asked, "freeform", random, has_paraphrase=step == 0 and index % 2 == 0)
    for index, case in enumerate(train[::12]):  # test questions about training images: a property not asked in training
        asked = _PROPERTIES[(12 * index + _NUM_ASKED) % len(_PROPERTIES)]
        records += _record(case, asked, "test_freeform", random, has_paraphrase=False)
    for case in test:
        for asked in _PROPERTIES:
            records += _record(case, asked, "test_freeform", random, has_paraphrase=asked.question_type == "POS")
    return records


def _record(
    case: _Case, asked: _Property, phrase_type: str, random: np.random.Generator, *, has_paraphrase: bool
) -> list[dict[str, Any]]:
    """A question and possibly its paraphrase, linked by `qid_linked_id`."""
    figure = case.figure
    answers = {
        "POS": figure.position,
        "ORGAN": figure.organ,
        "COUNT": figure.num_clips,
        "SIZE": "Yes" if figure.is_large else "No",
        "ATTRIB": "Yes" if figure.is_bright else "No",
    }
    record = {
        "qid": 0,  # numbered at the end
        "phrase_type": phrase_type,
        "qid_linked_id": draw_uuid(random),
        "image_case_url": case.url,
        "image_name": case.image_name,
        "image_organ": _ORGAN_CODES[figure.organ],
        "evaluation": "evaluated" if has_paraphrase else "not evaluated",
        "question": asked.question,
        "question_rephrase": asked.rephrased if has_paraphrase else "NULL",
        "question_relation": "strict agreement" if has_paraphrase else "NULL",
        "question_frame": "NULL",
        "question_type": asked.question_type,
        "answer": answers[asked.question_type],
        "answer_type": asked.answer_type,
    }
    if not has_paraphrase:
        return [record]
    wordings = {"question": asked.rephrased, "question_rephrase": asked.question}
    return [record, record | wordings | {"phrase_type": phrase_type.replace("freeform", "para")}]


def _add_irregularities(records: list[dict[str, Any]]) -> None:
    """Add the irregularities that the docstring of `datasets.vqa_rad` lists."""
    train = [record for record in records if record["phrase_type"] == "freeform"]
    shared = next(record for record in records if record["phrase_type"] == "test_freeform")
    records += [dict(train[index]) for index in (10, 20, 30)] + [{**shared, "phrase_type": "freeform"}]
    for number, record in enumerate(records):
        record["qid"] = number
    records[0]["qid"] = "0"
    for record in [record for record in records if record["answer_type"] == "CLOSED"][5:7]:
        record["answer_type"] = "CLOSED "
    for record in records[40:42]:
        del record["question_rephrase"]
    for index, question_type in enumerate(("PRSE", "ATRIB", "SIZE, PRES")):
        records[50 + index]["question_type"] = question_type


def _case_url(random: np.random.Generator) -> str:
    return f"https://medpix.nlm.nih.gov/case?id={draw_uuid(random)}"
