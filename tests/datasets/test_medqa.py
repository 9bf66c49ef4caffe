import json
from collections import Counter

import pytest

from openmedq.datasets.medqa import read
from openmedq.errors import SourceError
from tests.datasets import faults
from tests.datasets.conftest import FolderOf, all_samples
from tests.datasets.records import ChangedOf

US = "data_clean/questions/US"


def test_options_are_in_the_order_of_their_letters(changed: ChangedOf) -> None:
    options = {"B": "Gout ", "A": "Lupus", "D": "Flu", "C": "Mumps"}
    row = changed("medqa").sample({"options": options, "answer_idx": "B", "answer": "Gout"})
    assert row.turns[0].options == ("Lupus", "Gout", "Mumps", "Flu")


def test_one_split_alone_is_enough(copy_of: FolderOf) -> None:
    raw = copy_of("medqa")
    faults.unpack(raw, 1)
    for path in (raw / f"{US}/4_options").iterdir():
        if "dev" not in path.name:
            path.unlink()
    assert Counter(row.split for row in read(raw)) == {"dev": 16}


def test_the_question_bank_and_other_languages_are_never_read(copy_of: FolderOf) -> None:
    raw = copy_of("medqa")
    test = [row.turns[0].question for row in all_samples(read(raw)) if row.split == "test"]
    faults.unpack(raw, 1)
    bank = (raw / f"{US}/US_qbank.jsonl").read_text(encoding="utf-8")
    assert all(json.dumps(question)[1:-1] in bank for question in test)
    for path in (raw / f"{US}/4_options").iterdir():
        path.unlink()
    with pytest.raises(SourceError, match=r"no `data_clean\.zip`.*mixes train and test"):
        list(read(raw))
