"""Every set's samples as conversations: each task in its words, and nothing that gives the answer away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openmedq import synthetic
from openmedq.datasets import BENCHMARKS, SOURCES
from openmedq.model.prompt import request, respond
from openmedq.schema import Sample, Task

SETS = SOURCES | BENCHMARKS
TELLING = {"long_answer", "explanation", "caption", "chexpert", "negbio", "mesh", "meshes", "answer_idx", "label_name"}

every_set = pytest.mark.parametrize("set_id", sorted(SETS))


@pytest.fixture
def samples_of(tmp_path: Path) -> Callable[[str], Iterator[Sample]]:
    def read(set_id: str) -> Iterator[Sample]:
        synthetic.write(set_id, tmp_path)
        return (row for row in SETS[set_id].read(tmp_path) if isinstance(row, Sample))

    return read


@every_set
def test_what_is_asked_is_in_the_words_of_the_task(set_id: str, samples_of: Callable[[str], Iterator[Sample]]) -> None:
    for sample in samples_of(set_id):
        for turn in sample.turns:
            text, answer = request(sample.task, turn), respond(sample.task, turn)
            if sample.task is Task.CAPTION:
                assert text == "Describe the picture."
            elif sample.task is Task.REPORT:
                assert text.splitlines()[-1].startswith(("Write this section of the report: ", "Write the report."))
            elif sample.task is Task.CLASSIFICATION:
                assert text == "Name what the picture shows."
            else:
                assert f"Question: {turn.question}" in text
            if sample.task is Task.MULTIPLE_CHOICE:
                lines = text.splitlines()
                offered = lines[lines.index("Options:") + 1 :]
                assert [line[:3] for line in offered] == [f"{letter}. " for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"][
                    : len(turn.options)
                ]
                assert answer in offered, "letter and text"
            else:
                assert answer == turn.answer


@every_set
def test_nothing_gives_the_answer_away(set_id: str, samples_of: Callable[[str], Iterator[Sample]]) -> None:
    for sample in samples_of(set_id):
        for turn in sample.turns:
            text = request(sample.task, turn)
            for name in TELLING & set(sample.attributes):
                if len(sample.attributes[name]) > 12:  # a word may well be asked for
                    assert sample.attributes[name] not in text, name
            if not turn.options and len(turn.answer) > 12:
                assert turn.answer not in text
            assert sample.id not in text
            assert all(image.image_id not in text for image in sample.images)
