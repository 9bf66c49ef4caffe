"""VQA-Med 2019: the lines of three splits, their alternatives and categories, and where the files are."""

import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openmedq.datasets.vqa_med_2019 import vqa_med_2019
from openmedq.datasets.vqa_med_2019.vqa_med_2019 import read
from openmedq.errors import SourceError
from openmedq.schema import Image, Reason, Rejected, Sample
from tests.datasets.conftest import FolderOf

TRAINING, VALIDATION, TEST = "ImageClef-2019-VQA-Med-Training", "ImageClef-2019-VQA-Med-Validation", "VQAMed2019Test"
PAIRS, REFERENCES = "All_QA_Pairs_train.txt", "VQAMed2019_Test_Questions_w_Ref_Answers.txt"
QUESTIONS = "VQAMed2019_Test_Questions.txt"
GOOD = {PAIRS: b"synpic1|good?|yes", REFERENCES: b"synpic1|plane|good?|axial"}


def write(raw: Path, text: str, *lines: bytes, end: bytes = b"\n") -> Path:
    folder = raw / (TRAINING if text == PAIRS else TEST)
    images = folder / ("Train_images" if text == PAIRS else "VQAMed2019_Test_Images")
    images.mkdir(parents=True, exist_ok=True)
    for name in ("synpic1.jpg", "synpic2.png"):
        (images / name).write_bytes(b"not an image")
    (folder / text).write_bytes(b"".join(line + end for line in lines))
    return raw


def read_one(raw: Path, line: bytes, text: str = PAIRS) -> Sample | Rejected:
    """The row of a line. A good line follows it."""
    first, second = read(write(raw, text, line, GOOD[text]))
    assert isinstance(second, Sample)
    return first


def test_a_record_is_kept_whole(tmp_path: Path) -> None:
    write(tmp_path, PAIRS)
    folder = tmp_path / TRAINING / "QAPairsByCategory"
    folder.mkdir()
    (folder / "C2_Plane_train.txt").write_bytes(b"synpic1|which plane?|axial\r\n")
    row = read_one(tmp_path, b"synpic1| which plane? |axial|or (so)#so")
    assert (row.id, row.split, row.licence) == ("vqa_med_2019/train-1", "train", "CC-BY-4.0")
    (turn,) = row.turns
    assert (turn.question, turn.answer, turn.alternatives) == ("which plane?", "axial|or (so)#so", ())
    assert row.images == (Image("synpic1.jpg", path=tmp_path / TRAINING / "Train_images/synpic1.jpg"),)
    assert (row.provenance.file, row.provenance.record) == (f"{TRAINING}/{PAIRS}", "line 1")
    assert row.attributes == {"answer_type": "open", "category": "plane", "image_id": "synpic1"}


def test_a_reference_of_the_test_has_four_fields(tmp_path: Path) -> None:
    row = read_one(tmp_path, b"synpic1|Abnormality|is it normal?|no", REFERENCES)
    assert (row.id, row.split) == ("vqa_med_2019/test-1", "test")
    assert (row.turns[0].question, row.turns[0].answer) == ("is it normal?", "no")
    assert row.attributes == {"answer_type": "closed", "category": "abnormality", "image_id": "synpic1"}


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ("axial", ["axial"]),
        ("oligodendroglioma#cystic mass# neoplasm", ["oligodendroglioma", "cystic mass", "neoplasm"]),
        ("(septic) emboli", ["(septic) emboli", "emboli"]),
        ("dermoid tumor (inclusion cyst) of cns", ["dermoid tumor (inclusion cyst) of cns", "dermoid tumor of cns"]),
        ("mass (with (deep) walls)", ["mass (with (deep) walls)", "mass (with walls)"]),
        ("ct (a), b", ["ct (a), b", "ct, b"]),
        ("mass (solitary)#mass#x", ["mass (solitary)", "mass", "x"]),
        ("(whole)", ["(whole)"]),
        ("open ( parenthesis", ["open ( parenthesis"]),
        ("#first#", ["first"]),
    ],
)
def test_alternatives_and_optional_parts(tmp_path: Path, published: str, expected: list[str]) -> None:
    row = read_one(tmp_path, f"synpic1|plane|q?|{published}".encode(), REFERENCES)
    assert [row.turns[0].answer, *row.turns[0].alternatives] == expected


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (PAIRS, b"synpic1|what?", Reason.FIELD_MISSING),
        (PAIRS, b"|what?|this", Reason.FIELD_MISSING),
        (PAIRS, b"synpic1||this", Reason.QUESTION_EMPTY),
        (PAIRS, b"synpic1|what?| ", Reason.ANSWER_EMPTY),
        (PAIRS, b"synpic3|what?|this", Reason.IMAGE_MISSING),
        (PAIRS, b"../../etc/passwd|what?|this", Reason.IMAGE_MISSING),
        (PAIRS, b"\xff|what?|this", Reason.NOT_UTF8),
        (REFERENCES, b"synpic1|what?|this", Reason.FIELD_MISSING),
        (REFERENCES, b"synpic1|other|what?|this", Reason.FIELD_MISSING),
        (REFERENCES, b"synpic1|plane|what?|#", Reason.ANSWER_EMPTY),
    ],
)
def test_an_unusable_line_is_rejected(tmp_path: Path, text: str, line: bytes, reason: Reason) -> None:
    row = read_one(tmp_path, line, text)
    assert row.reason is reason


def test_categories_come_from_their_files(copy_of: FolderOf) -> None:
    raw = copy_of("vqa_med_2019")
    rows = [row for row in read(raw) if isinstance(row, Sample)]
    asked = {(row.attributes["category"], row.turns[0].question.split()[1]) for row in rows}
    assert asked == {(name, name) for name in ("modality", "plane", "organ", "abnormality")} | {("abnormality", "the")}
    unpack(raw)
    (raw / VALIDATION / "QAPairsByCategory/C3_Organ_val.txt").unlink()
    shutil.rmtree(raw / TRAINING / "QAPairsByCategory")
    without = Counter((row.split, row.attributes.get("category")) for row in read(raw) if isinstance(row, Sample))
    assert [without["train", None], without["validation", None], without["test", "organ"]] == [79, 5, 6]


def test_an_archive_without_the_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / f"{TRAINING}.zip", "w") as archive:
        archive.writestr("else.txt", b"x")
    with pytest.raises(SourceError, match=rf"{TRAINING}\.zip: the archive has no `{PAIRS}`"):
        list(read(tmp_path))


def unpack(raw: Path) -> None:
    """Unpack the three archives, but not the inner one, as `unzip` does."""
    for path in sorted(raw.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(raw)
        path.unlink()


def unpack_inner(raw: Path) -> None:
    unpack(raw)
    packed = raw / TEST / "VQAMed2019_Test_Images.zip"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(raw / TEST)
    packed.unlink()


def without_an_inner_archive(raw: Path) -> None:
    unpack_inner(raw)
    with zipfile.ZipFile(raw / f"{TEST}.zip", "w") as archive:
        for path in sorted((raw / TEST).rglob("*.*")):
            archive.write(path, path.relative_to(raw).as_posix())
    shutil.rmtree(raw / TEST)


def all_in_one_folder(raw: Path) -> None:
    unpack(raw)
    for folder in (TRAINING, VALIDATION, TEST):
        for path in (raw / folder).iterdir():
            if path.is_file() or not (raw / path.name).exists():
                path.rename(raw / path.name)
    for path in (raw / VALIDATION / "QAPairsByCategory").iterdir():
        path.rename(raw / path.name)


@pytest.mark.parametrize(
    "lay_out",
    [
        unpack_inner,
        without_an_inner_archive,
        all_in_one_folder,
    ],
)
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


def test_real_files_are_read_whole(real_data: Path) -> None:
    rows = list(vqa_med_2019.read(real_data / "VQA-Med-2019"))
    samples = [row for row in rows if isinstance(row, Sample)]
    assert Counter(row.split for row in rows) == {"train": 128, "validation": 24, "test": 500}
    assert Counter(row.split for row in samples) == {"train": 128, "validation": 24, "test": 4}
    assert {row.reason for row in rows if isinstance(row, Rejected)} == {Reason.IMAGE_MISSING}
    assert Counter(row.attributes["category"] for row in samples if row.split == "train") == dict.fromkeys(
        ("modality", "plane", "organ", "abnormality"), 32
    )
    optional = [row.turns[0] for row in samples if row.turns[0].alternatives]
    assert [turn.alternatives for turn in optional] == [("heterogeneous cecal mass",)]
    rad = {path.name for path in (real_data / "VQA-RAD/VQA_RAD Image Folder").iterdir()}
    assert {row.images[0].image_id for row in samples} <= rad
