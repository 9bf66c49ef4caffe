from collections import Counter

from openmedq.datasets.medqa import read
from tests.datasets import faults
from tests.datasets.conftest import FolderOf
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
