import json
from pathlib import Path
from typing import Any

import pytest

from openmedq.datasets.omnimedvqa import ARCHIVE, read
from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Sample
from tests.datasets.conftest import FolderOf
from tests.datasets.records import ChangedOf
from tests.storage.archiving import write_zip

RECORD = {
    "dataset": "ACRIMA",
    "question_id": "ACRIMA_0000",
    "question_type": "Modality Recognition",
    "question": " What imaging technique was used? ",
    "gt_answer": "Fundus imaging",
    "image_path": "Images/ACRIMA/Im553_g_ACRIMA.png",
    "option_A": "CT",
    "option_B": "Fundus imaging ",
    "option_C": "MRI",
    "modality_type": "Fundus Photography",
}
PICTURES = {f"Images/{name}": b"no picture: readers do not look" for name in ("ACRIMA/Im553_g_ACRIMA.png", "B/1.png")}


def write(raw: Path, lists: dict[str, Any], pictures: dict[str, bytes] = PICTURES, top: str = "OmniMedVQA/") -> Path:
    raw.mkdir(exist_ok=True)
    files = {
        f"QA_information/{name}.json": records if isinstance(records, bytes) else json.dumps(records).encode()
        for name, records in lists.items()
    }
    write_zip(raw / ARCHIVE, {f"{top}{name}": data for name, data in (files | pictures).items()})
    return raw


@pytest.mark.parametrize(
    ("answer", "options", "expected"),
    [
        ("mri", ("CT", "MRI."), "MRI."),
        ("MRI. ", ("CT", " mri"), "mri"),
        ('"MRI"', ("CT", "MRI"), "MRI"),
        ("no  finding", ("No finding", "CT"), "No finding"),
        ("ct", ("CT", "ct"), "ct"),  # an equal option is preferred to one that differs in case
        (2, ("1", "2"), "2"),
        ("2", (1, 2), "2"),
    ],
)
def test_answers_are_matched_loosely(changed: ChangedOf, answer: Any, options: tuple[Any, Any], expected: str) -> None:
    named = {"option_A": options[0], "option_B": options[1], "option_C": ..., "option_D": ...}
    (turn,) = changed("omnimedvqa").sample({"gt_answer": answer, **named}).turns
    assert (turn.answer, len(turn.options)) == (expected, 2)


def test_options_that_are_nothing_are_left_out_and_the_modality_has_two_names(changed: ChangedOf) -> None:
    record = changed("omnimedvqa")
    options = {"option_A": "CT", "option_B": "MRI", "gt_answer": "CT"}
    for nothing in (..., None, "", " ", float("nan")):
        turn = record.sample(options | {"option_C": nothing, "option_D": nothing}).turns[0]
        assert turn.options == ("CT", "MRI")
    assert record.sample(options | {"option_D": "a", "option_E": "b"}).turns[0].options[-2:] == ("a", "b")
    row = record.sample({"modality_type": ..., "modality": "CT(Computed Tomography)"})
    assert row.attributes["modality_type"] == "CT(Computed Tomography)"


def test_ids_repeat_within_a_file_but_not_across(tmp_path: Path) -> None:
    lists = {"Open-access/A": [RECORD, RECORD], "Open-access/B C": [RECORD], "Restricted-access/A B": [RECORD | {}]}
    rows = list(read(write(tmp_path, lists)))
    assert [(row.id, row.split) for row in rows if isinstance(row, Sample)] == [
        ("omnimedvqa/A/ACRIMA_0000", "open_access"),
        ("omnimedvqa/B C/ACRIMA_0000", "open_access"),
        ("omnimedvqa/A B/ACRIMA_0000", "restricted_access"),
    ]
    (repeated,) = (row for row in rows if isinstance(row, Rejected))
    assert repeated.reason is Reason.ID_REPEATED


def test_restricted_pictures_are_the_users_to_supply(copy_of: FolderOf) -> None:
    raw = copy_of("omnimedvqa")
    absent = [row for row in read(raw) if isinstance(row, Rejected)]
    assert {(row.reason, row.split) for row in absent} == {(Reason.IMAGE_MISSING, "restricted_access")}
    assert all(row.provenance.record.startswith("Restricted-access/3D Modality.json record ") for row in absent)
    for number, folder in enumerate(("", "OmniMedVQA")):
        picture = raw / folder / "Images/3D Modality" / f"Im00{number}.png"
        picture.parent.mkdir(parents=True)
        picture.write_bytes(b"x")
    supplied = [row for row in read(raw) if isinstance(row, Sample) and row.split == "restricted_access"]
    assert len(supplied) == 6
    assert {row.images[0].image_id for row in supplied} == {f"Images/3D Modality/Im00{number}.png" for number in (0, 1)}


def test_lists_beside_an_archive_of_pictures_alone_are_read(tmp_path: Path) -> None:
    write(tmp_path, {})
    path = tmp_path / "QA_information/Open-access/A.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([RECORD]))
    (row,) = read(tmp_path)
    assert row.images[0].data == b"no picture: readers do not look"


def test_a_list_that_is_odd_costs_its_own_records(tmp_path: Path) -> None:
    odd = [{"Question": 1}, {"Question": 2}]
    rows = list(read(write(tmp_path, {"Open-access/A": odd, "Open-access/B": [], "Open-access/C": [RECORD, 7]})))
    assert [isinstance(row, Sample) for row in rows] == [False, False, True, False]
    assert len({row.id for row in rows}) == 4


@pytest.mark.parametrize("content", [{}, {"a": 1}, [], [1, 2], None, "text", [{"question_id": 1}, {"question_id": 2}]])
def test_another_layout_is_one_line(tmp_path: Path, content: Any) -> None:
    with pytest.raises(SourceError, match=r"OmniMedVQA\.zip") as error:
        list(read(write(tmp_path, {"Open-access/A": content})))
    assert "\n" not in str(error.value)


def test_without_lists_nothing_is_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no `QA_information/Open-access/<Dataset>\.json`"):
        next(read(write(tmp_path, {"Elsewhere/A": [RECORD]})))
