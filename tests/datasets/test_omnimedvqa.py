import shutil
from typing import Any

import pytest

from openmedq.datasets.omnimedvqa import ARCHIVE, read
from openmedq.schema import Reason, Rejected, Sample
from tests.datasets import faults
from tests.datasets.conftest import FolderOf, samples
from tests.datasets.records import RECORDS, ChangedOf, rewrite


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


def test_lists_beside_an_archive_of_images_alone_are_read(copy_of: FolderOf) -> None:
    raw = copy_of("omnimedvqa")
    expected = [row.id for row in read(raw)]
    members = faults.members_of(raw / ARCHIVE)
    faults.unpack(raw, 1)
    faults.pack(raw / ARCHIVE, {name: data for name, data in members.items() if name.endswith(".png")})
    shutil.rmtree(raw / "OmniMedVQA/Images")
    assert [row.id for row in read(raw)] == expected


def test_a_list_that_is_odd_costs_its_own_records(copy_of: FolderOf) -> None:
    raw = copy_of("omnimedvqa")
    num_rows = len(samples(read(raw)))
    rewrite(raw, RECORDS["omnimedvqa"], lambda _: [{"Question": 1}, 7])
    rows = list(read(raw))
    assert len(samples(rows)) == num_rows - 48
    assert len({row.id for row in rows}) == len(rows)
