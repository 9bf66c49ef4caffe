import json
import zipfile

import pytest

from openmedq.datasets.vqa_rad import IMAGES, QUESTIONS, read
from openmedq.schema import Sample
from tests.datasets.conftest import FolderOf, samples
from tests.datasets.records import ChangedOf


def test_answers_become_text(changed: ChangedOf) -> None:
    record = changed("vqa_rad")
    for answer, expected in ((4, "4"), (0, "0"), (2.5, "2.5"), (" Left ", "Left")):
        assert record.sample({"answer": answer}).turns[0].answer == expected
    assert record.sample({"answer_type": "CLOSED "}).attributes["answer_type"] == "closed"


@pytest.mark.parametrize(
    ("questions", "images", "folder"),
    [
        ("VQA_RAD_Dataset_Public.json", "VQA_RAD_Image_Folder", ""),
        (QUESTIONS, f"{IMAGES}.zip", ""),  # as OSF packs it
        (QUESTIONS, f"{IMAGES}.zip", "VQA_RAD Image Folder/"),
        (QUESTIONS, "VQA_RAD_Image_Folder.zip", "VQA_RAD Image Folder/"),
    ],
)
def test_other_names_of_the_layout_are_read(copy_of: FolderOf, questions: str, images: str, folder: str) -> None:
    raw = copy_of("vqa_rad")
    expected = [(row.id, row.turns) for row in read(raw) if isinstance(row, Sample)]
    (raw / QUESTIONS).rename(raw / questions)
    if images.endswith(".zip"):
        with zipfile.ZipFile(raw / images, "w") as archive:
            for path in (raw / IMAGES).iterdir():
                archive.write(path, f"{folder}{path.name}")
                path.unlink()
        (raw / IMAGES).rmdir()
    else:
        (raw / IMAGES).rename(raw / images)
    assert [(row.id, row.turns) for row in read(raw) if isinstance(row, Sample)] == expected


def test_the_derived_copy_is_read_if_the_original_is_absent(
    copy_of: FolderOf, caplog: pytest.LogCaptureFixture
) -> None:
    raw = copy_of("vqa_rad")
    (raw / "data_RAD").mkdir()
    records = json.loads((raw / QUESTIONS).read_text(encoding="utf-8"))
    for name, part in {"trainset": records[:3], "testset": records[3:5]}.items():
        framed = [record | {"phrase_type": "frame"} for record in part]  # a split is a file here
        (raw / f"data_RAD/{name}.json").write_text(json.dumps(framed), encoding="utf-8")
    assert {row.provenance.file for row in read(raw)} == {QUESTIONS}
    assert any("data_RAD" in message and "not read" in message for message in caplog.messages)
    (raw / QUESTIONS).unlink()
    assert [(row.id, row.split) for row in samples(read(raw))] == [
        *((f"vqa_rad/{number}", "train") for number in range(3)),
        *((f"vqa_rad/{number}", "test") for number in (3, 4)),
    ]
    (raw / "data_RAD/testset.json").write_text(json.dumps(records[:1]), encoding="utf-8")
    assert [row.id for row in samples(read(raw))][-1] == "vqa_rad/test-0", "an id of another split carries its own"
