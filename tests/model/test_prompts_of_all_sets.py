from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openmedq import synthetic
from openmedq.datasets import DATASETS
from openmedq.model.prompt import request
from openmedq.schema import Sample

REVEALING = {
    "long_answer",
    "explanation",
    "caption",
    "chexpert",
    "negbio",
    "mesh",
    "meshes",
    "answer_idx",
    "label_name",
}

every_dataset = pytest.mark.parametrize("dataset_id", sorted(DATASETS))


@pytest.fixture
def samples_of(tmp_path: Path) -> Callable[[str], Iterator[Sample]]:
    def read(dataset_id: str) -> Iterator[Sample]:
        synthetic.write(dataset_id, tmp_path)
        return (row for row in DATASETS[dataset_id].read(tmp_path) if isinstance(row, Sample))

    return read


@every_dataset
def test_nothing_reveals_the_answer(dataset_id: str, samples_of: Callable[[str], Iterator[Sample]]) -> None:
    for sample in samples_of(dataset_id):
        for turn in sample.turns:
            text = request(sample.task, turn)
            for name in REVEALING & set(sample.attributes):
                if len(sample.attributes[name]) > 12:  # single words may occur in a question
                    assert sample.attributes[name] not in text, name
            if not turn.options and len(turn.answer) > 12:
                assert turn.answer not in text
            assert sample.id not in text
            assert all(image.image_id not in text for image in sample.images)
