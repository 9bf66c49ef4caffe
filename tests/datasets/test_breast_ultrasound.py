from pathlib import Path

import pytest

from openmedq.datasets.breast_ultrasound import FOLDER, read
from openmedq.schema import Reason, Rejected, Sample
from tests.datasets.conftest import all_samples
from tests.storage.archiving import write_zip

NAMES = ("benign/benign (1)", "benign/benign (10)", "benign/benign (2)", "malignant/malignant (1)", "normal/normal (1)")


def write(home: Path, *names: str) -> None:
    """Write files with these names below `home`; their content is their name, because readers do not decode."""
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(name.encode())


@pytest.mark.parametrize("name", ["Dataset_BUSI.zip", "archive.zip", "breast-ultrasound-images-dataset.zip"])
@pytest.mark.parametrize("home", ["", f"{FOLDER}/", f"x/{FOLDER}/"])
def test_a_zip_is_read_in_place(tmp_path: Path, name: str, home: str) -> None:
    write_zip(tmp_path / "another.zip", {"readme.txt": b"no picture"})
    members = {f"{home}{stem}{mask}.png": stem.encode() for stem in NAMES for mask in ("", "_mask")}
    write_zip(tmp_path / name, members | {"__MACOSX/benign/._benign (1).png": b"", f"{home}benign/Thumbs.db": b""})
    rows = all_samples(read(tmp_path))
    assert [row.images[0].data for row in rows] == [NAMES[index].encode() for index in (0, 2, 1, 3, 4)]
    assert {row.provenance.file for row in rows} == {name}
    assert rows[1].provenance.record == f"{home}benign/benign (2).png"


def test_one_class_alone_is_read_and_the_others_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "Benign/benign (1).PNG", "Benign/.hidden.png", "Benign/notes.txt", "other/benign (1).png")
    assert [row.id for row in all_samples(read(tmp_path))] == ["breast_ultrasound/benign (1)"]
    assert any("malignant or normal" in message for message in caplog.messages)


def test_masks_are_counted_and_are_no_records(tmp_path: Path) -> None:
    write(tmp_path, *(f"benign/benign (1){suffix}.png" for suffix in ("", "_mask", "_mask_1", "_mask_2")))
    write(tmp_path, "benign/benign (2).png", "benign/benign (3)_mask.png", "benign/benign (3)_mask_1.png")
    kept = [row for row in read(tmp_path) if isinstance(row, Sample)]
    assert [(row.id, row.attributes["num_masks"]) for row in kept] == [
        ("breast_ultrasound/benign (1)", "3"),
        ("breast_ultrasound/benign (2)", "0"),
    ]
    absent = [row for row in read(tmp_path) if isinstance(row, Rejected)]
    assert [(row.id, row.reason) for row in absent] == [("breast_ultrasound/benign (3)", Reason.IMAGE_MISSING)]


def test_a_name_that_is_not_utf8_is_rejected(tmp_path: Path) -> None:
    write(tmp_path, "benign/benign (1).png")
    (Path(str(tmp_path)) / "benign" / b"benign (3)\xff.png".decode(errors="surrogateescape")).write_bytes(b"")
    (bad,) = [row for row in read(tmp_path) if isinstance(row, Rejected)]
    assert bad.reason is Reason.NOT_UTF8
    for text in (bad.id, bad.provenance.file, bad.detail):
        text.encode()
