"""VQA-Med 2019: the lines of three splits, their alternatives and categories, and where the files are."""

from __future__ import annotations

import logging
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
from openmedq.schema import Image, Reason, Rejected, Sample, Turn

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
    assert isinstance(row, Sample)
    assert (row.id, row.split, row.licence) == ("vqa_med_2019/train-1", "train", "CC-BY-4.0")
    (turn,) = row.turns
    assert (turn.question, turn.answer, turn.alternatives) == ("which plane?", "axial|or (so)#so", ())
    assert row.images == (Image("synpic1.jpg", path=tmp_path / TRAINING / "Train_images/synpic1.jpg"),)
    assert (row.provenance.file, row.provenance.record) == (f"{TRAINING}/{PAIRS}", "line 1")
    assert row.attributes == {"answer_type": "open", "category": "plane", "image_id": "synpic1"}


def test_a_reference_of_the_test_has_four_fields(tmp_path: Path) -> None:
    row = read_one(tmp_path, b"synpic1|Abnormality|is it normal?|no", REFERENCES)
    assert isinstance(row, Sample)
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
    assert isinstance(row, Sample)
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
        (REFERENCES, b"synpic1||what?|this", Reason.FIELD_MISSING),
        (REFERENCES, b"synpic1|plane|what?|#", Reason.ANSWER_EMPTY),
        (REFERENCES, b"synpic1|plane||this", Reason.QUESTION_EMPTY),
    ],
)
def test_an_unusable_line_is_rejected(tmp_path: Path, text: str, line: bytes, reason: Reason) -> None:
    row = read_one(tmp_path, line, text)
    assert isinstance(row, Rejected)
    assert row.reason is reason


def test_categories_come_from_their_files(copy_of: Callable[[str], Path]) -> None:
    raw = copy_of("vqa_med_2019")
    rows = [row for row in read(raw) if isinstance(row, Sample)]
    asked = {(row.attributes["category"], row.turns[0].question.split()[1]) for row in rows}
    assert asked == {(name, name) for name in ("modality", "plane", "organ", "abnormality")} | {("abnormality", "the")}
    unpack(raw)
    (raw / VALIDATION / "QAPairsByCategory/C3_Organ_val.txt").unlink()
    shutil.rmtree(raw / TRAINING / "QAPairsByCategory")
    without = Counter((row.split, row.attributes.get("category")) for row in read(raw) if isinstance(row, Sample))
    assert [without["train", None], without["validation", None], without["test", "organ"]] == [79, 5, 6]


def test_line_ends_are_not_part_of_a_record(tmp_path: Path) -> None:
    lines = [b"synpic1|what?|this", b"", b" ", b"synpic1|wh\rat?\r|that\r"]
    for end in (b"\n", b"\r\n"):
        for start in (b"", b"\xef\xbb\xbf"):
            write(tmp_path, PAIRS, start + lines[0], *lines[1:], end=end)
            rows = [row for row in read(tmp_path) if isinstance(row, Sample)]
            assert [row.id.split("-")[1] for row in rows] == ["1", "4"]
            assert [row.turns[0] for row in rows] == [Turn("what?", "this"), Turn("wh\rat?", "that")]


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


def unpack_inner_into_its_folder(raw: Path) -> None:
    unpack_inner(raw)
    images = raw / TEST / "VQAMed2019_Test_Images"
    images.rename(raw / TEST / "inner")
    images.mkdir()
    (raw / TEST / "inner").rename(images / "VQAMed2019_Test_Images")


def without_an_inner_archive(raw: Path) -> None:
    unpack_inner(raw)
    with zipfile.ZipFile(raw / f"{TEST}.zip", "w") as archive:
        for path in sorted((raw / TEST).rglob("*.*")):
            archive.write(path, path.relative_to(raw).as_posix())
    shutil.rmtree(raw / TEST)


def each_in_its_own_folder(raw: Path) -> None:
    unpack(raw)
    for folder in (TRAINING, VALIDATION, TEST):
        (raw / folder).rename(raw / "inner")
        (raw / folder).mkdir()
        (raw / "inner").rename(raw / folder / folder)


def all_in_one_folder(raw: Path) -> None:
    unpack(raw)
    for folder in (TRAINING, VALIDATION, TEST):
        for path in (raw / folder).iterdir():
            if path.is_file() or not (raw / path.name).exists():
                path.rename(raw / path.name)
    for path in (raw / VALIDATION / "QAPairsByCategory").iterdir():
        path.rename(raw / path.name)


def one_level_down(raw: Path) -> None:
    paths = list(raw.iterdir())
    (raw / "10499039").mkdir()
    for path in paths:
        path.rename(raw / "10499039" / path.name)


@pytest.mark.parametrize(
    "lay_out",
    [
        unpack,
        unpack_inner,
        unpack_inner_into_its_folder,
        without_an_inner_archive,
        each_in_its_own_folder,
        all_in_one_folder,
        one_level_down,
    ],
)
def test_other_places_of_the_files_are_read(copy_of: Callable[[str], Path], lay_out: Callable[[Path], None]) -> None:
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


def test_one_copy_of_a_split_is_read_and_the_other_is_logged(
    copy_of: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    raw = copy_of("vqa_med_2019")
    write(raw, PAIRS, GOOD[PAIRS])
    assert Counter(row.split for row in read(raw)) == {"train": 1, "validation": 20, "test": 24}
    assert caplog.text.count(f"{TRAINING}.zip: its questions are not read") == 1


def test_the_miniature_has_the_irregularities(miniature_of: Callable[[str], Path]) -> None:
    def texts(folder: str) -> dict[str, bytes]:
        with zipfile.ZipFile(miniature_of("vqa_med_2019") / f"{folder}.zip") as archive:
            return {Path(name).name: archive.read(name) for name in archive.namelist() if not name.endswith(".jpg")}

    training, validation, test = map(texts, (TRAINING, VALIDATION, TEST))
    assert set(training) == {PAIRS, "train_ImageIDs.txt"} | {
        f"{stem}_train.txt" for stem in ("C1_Modality", "C2_Plane", "C3_Organ", "C4_Abnormality")
    }
    assert (training[PAIRS].count(b"\r"), training[PAIRS].count(b"\r\n")) == (1, 0)
    assert validation["All_QA_Pairs_val.txt"].count(b"\r\n") == 20
    counts = Counter(line.split(b"|")[0] for line in training[PAIRS].split(b"\n") if line)
    assert Counter(counts.values()) == {4: 19, 3: 1}
    references = test[REFERENCES].decode().splitlines()
    assert {line.count("|") for line in references} == {3}
    assert sum("#" in line for line in references) == 1
    assert sum("mass (" in line for line in references) == 2
    assert [line.split("|")[::2][:2] for line in references] == [
        line.split("|") for line in test[QUESTIONS].decode().splitlines()
    ]
    assert f"._{REFERENCES}" in test


def test_one_image_is_also_in_vqa_rad(miniature_of: Callable[[str], Path]) -> None:
    rad = {path.read_bytes() for path in miniature_of("vqa_rad").rglob("*.jpg")}
    rows = [row for row in read(miniature_of("vqa_med_2019")) if isinstance(row, Sample)]
    shared = {row.images[0].image_id for row in rows if row.images[0].data in rad}
    assert len(shared) == 1
    assert all(row.images[0].image_id.startswith("synpic") for row in rows)
    assert {row.split for row in rows if row.images[0].image_id in shared} == {"train"}


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
