"""The real slices in `OPENMEDQ_REAL_DATA` are read whole."""

from collections import Counter
from pathlib import Path

import pytest

from openmedq.schema import Rejected, Sample
from tests.datasets.conftest import SETS

# By dataset: folder, samples by split, rejected rows by reason, number of images, samples by type of answer.
EXPECTED = {
    "cxr8": ("NIH-ChestXray14", {"unlisted": 2}, {}, 2, {"": 2}),
    "pubmedqa": ("PubMedQA", {"train": 500, "test": 500}, {}, 0, {"closed": 1000}),
    "slake": ("SLAKE", {}, {"language excluded": 6995, "image missing": 7032, "answer empty": 1}, 0, {}),
    "vqa_med_2019": (
        *("VQA-Med-2019", {"train": 128, "validation": 24, "test": 4}),
        *({"image missing": 496}, 42, {"open": 148, "closed": 8}),
    ),
    "vqa_rad": ("VQA-RAD", {"train": 1797, "test": 451}, {}, 314, {"closed": 1299, "open": 949}),
}


@pytest.mark.parametrize("dataset_id", EXPECTED)
def test_real_files_are_read_whole(dataset_id: str, real_data: Path) -> None:
    folder, *expected = EXPECTED[dataset_id]
    rows = list(SETS[dataset_id].read(real_data / str(folder)))
    samples = [row for row in rows if isinstance(row, Sample)]
    assert [
        Counter(row.split for row in samples),
        Counter(row.reason for row in rows if isinstance(row, Rejected)),
        len({image.image_id for row in samples for image in row.images}),
        Counter(row.attributes.get("answer_type", "") for row in samples),
    ] == expected
    assert len({row.id for row in rows}) == len(rows)
