import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openmedq.datasets.vqa_med_2019 import read
from openmedq.schema import Reason, Sample
from tests.datasets import faults
from tests.datasets.conftest import FolderOf
from tests.datasets.records import ChangedOf

TRAINING, VALIDATION, TEST = "ImageClef-2019-VQA-Med-Training", "ImageClef-2019-VQA-Med-Validation", "VQAMed2019Test"
REFERENCES = "VQAMed2019_Test_Questions_w_Ref_Answers.txt"


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ("axial", ["axial"]),
        ("oligodendroglioma#cystic mass# neoplasm", ["oligodendroglioma", "cystic mass", "neoplasm"]),
        ("(septic) emboli", ["(septic) emboli", "emboli"]),
        ("mass (with (deep) walls)", ["mass (with (deep) walls)", "mass (with walls)"]),
        ("mass (solitary)#mass#x", ["mass (solitary)", "mass", "x"]),
        ("(whole)", ["(whole)"]),
        ("open ( parenthesis", ["open ( parenthesis"]),
        ("#first#", ["first"]),
    ],
)
def test_alternatives_and_optional_parts(changed: ChangedOf, published: str, expected: list[str]) -> None:
    record = changed("vqa_med_2019", f"{TEST}.zip:{REFERENCES}")
    image = record.first.images[0].image_id.removesuffix(".jpg")
    row = record.sample(f"{image}|Plane|q?|{published}")
    assert [row.turns[0].answer, *row.turns[0].alternatives] == expected
    assert row.attributes["category"] == "plane"


def test_an_unusable_reference_is_rejected(changed: ChangedOf) -> None:
    record = changed("vqa_med_2019", f"{TEST}.zip:{REFERENCES}")
    for line, reason in (
        ("synpic1|what?|this", Reason.FIELD_MISSING),
        ("synpic1|other|what?|this", Reason.FIELD_MISSING),
        ("synpic1|plane|what?|#", Reason.ANSWER_EMPTY),
    ):
        assert getattr(record.read(line), "reason", None) is reason


def test_in_other_splits_the_marks_have_no_meaning(changed: ChangedOf) -> None:
    record = changed("vqa_med_2019")
    image = record.first.images[0].image_id.removesuffix(".jpg")
    turn = record.sample(f"{image}| which plane? |axial|or (so)#so").turns[0]
    assert (turn.question, turn.answer, turn.alternatives) == ("which plane?", "axial|or (so)#so", ())


def test_categories_come_from_their_files(copy_of: FolderOf) -> None:
    raw = copy_of("vqa_med_2019")
    rows = [row for row in read(raw) if isinstance(row, Sample)]
    asked = {(row.attributes["category"], row.turns[0].question.split()[1]) for row in rows}
    assert asked == {(name, name) for name in ("modality", "plane", "organ", "abnormality")} | {("abnormality", "the")}
    faults.unpack(raw, 1)
    (raw / VALIDATION / "QAPairsByCategory/C3_Organ_val.txt").unlink()
    shutil.rmtree(raw / TRAINING / "QAPairsByCategory")
    without = Counter((row.split, row.attributes.get("category")) for row in read(raw) if isinstance(row, Sample))
    assert [without["train", None], without["validation", None], without["test", "organ"]] == [79, 5, 6]


def unpack_inner(raw: Path) -> None:
    faults.unpack(raw, 1)
    faults.unpack(raw, 1)


def all_in_one_folder(raw: Path) -> None:
    faults.unpack(raw, 1)
    for folder in (TRAINING, VALIDATION, TEST):
        for path in (raw / folder).iterdir():
            if path.is_file() or not (raw / path.name).exists():
                path.rename(raw / path.name)
    for path in (raw / VALIDATION / "QAPairsByCategory").iterdir():
        path.rename(raw / path.name)


def deep_and_renamed(raw: Path) -> None:
    folder = raw / "a/b/c"
    folder.mkdir(parents=True)
    for path in raw.glob("*.zip"):
        path.rename(folder / f"{path.stem} (1).zip")


@pytest.mark.parametrize("lay_out", [unpack_inner, all_in_one_folder, deep_and_renamed])
def test_other_places_of_the_files_are_read(copy_of: FolderOf, lay_out: Callable[[Path], None]) -> None:
    def summarize(raw: Path) -> list[Any]:
        rows = [row for row in read(raw) if isinstance(row, Sample)]
        assert all((raw / row.provenance.file).is_file() for row in rows)
        return [
            (row.id, row.turns, row.attributes, [i.data or (i.path and i.path.read_bytes()) for i in row.images])
            for row in rows
        ]

    raw = copy_of("vqa_med_2019")
    expected = summarize(raw)
    lay_out(raw)
    assert len(expected) == 123
    assert summarize(raw) == expected
