from collections.abc import Sequence
from dataclasses import replace

import pytest

from openmedq.evaluation.answer_files import match
from openmedq.schema import Image, Task, Turn
from tests.evaluation.test_commands import _published, rows, samples, scored, write_jsonl
from tests.model.tiny import make_sample

__all__ = ["_published"]  # a fixture of every test


FOLDERS = ("p1/scan.png", "p2/scan.png")  # file names that repeat in the folders of patients
SERIES = ("1.2.840.1", "1.2.840.2")  # of DICOM, without a suffix


@pytest.mark.parametrize(
    ("images", "given", "found"),
    [
        (FOLDERS, ["p2/scan.png", "p1/scan.png"], ["b", "a"]),
        (FOLDERS, ["/data/P2/scan.jpg", "data\\p1\\scan"], ["b", "a"]),
        (FOLDERS, ["scan.png", "p3/scan.png", "p1/scan.png"], ["c", None]),  # which patient is not known
        (FOLDERS[1:], ["scan.png"], ["a"]),
        (SERIES, ["x/1.2.840.2.dcm", "1.2.840.1"], ["b", "a"]),
    ],
)
def test_an_image_is_found_by_its_folders(images: Sequence[str], given: Sequence[str], found: list[str | None]) -> None:
    sample = make_sample(Task.VQA, Turn("Is there a mass?", "yes"))
    asked = {name: replace(sample, id=name, images=(Image(name),)) for name in images}
    answers = zip("abc", given, strict=False)
    rows = [{"question": "Is there a mass?", "image": image, "answer": answer} for answer, image in answers]
    matched = match(rows, asked)
    assert [matched.answers.get(name) for name in images] == found
    assert len(matched.unknown) == len(given) - len(matched.answers)


@pytest.mark.parametrize("columns", [("question_id", "text"), ("id", "prediction"), ("id", "pred"), ("id", "response")])
def test_the_columns_of_other_tools(columns: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Beside a prediction, the answer is the reference."""
    given = rows(wrong=3)
    expected = scored(write_jsonl(given), capsys)
    own_id, column = columns
    theirs = [
        {own_id: row["id"], "prompt": "?", column: row["answer"]}
        | ({} if column == "text" else {"answer": sample.turns[-1].answer})
        for row, sample in zip(given, samples(), strict=True)
    ]
    assert scored(write_jsonl(theirs, "theirs.jsonl"), capsys) == expected
