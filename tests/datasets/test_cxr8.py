from pathlib import Path

import pytest

from openmedq.datasets.cxr8 import LISTS, OLD_TABLE, TABLE, read
from openmedq.errors import SourceError
from openmedq.schema import Rejected, Sample

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROW = "00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.143,0.144"


def write(raw: Path, *rows: str, header: str = HEADER, name: str = TABLE, place: str = "images") -> Path:
    """Write a table, and an image for each row named `0000...png`."""
    (raw / place).mkdir(parents=True, exist_ok=True)
    (raw / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8", errors="surrogateescape")
    for row in rows:
        if row.startswith("0000"):
            (raw / place / row.split(",")[0]).write_bytes(b"picture")
    return raw


def read_one(raw: Path, row: str, **changes: str) -> Sample | Rejected:
    (only,) = read(write(raw, row, **changes))
    return only


@pytest.mark.parametrize("name", [TABLE, OLD_TABLE])
@pytest.mark.parametrize(("end", "row_end"), [("", ""), (",", ","), ("", ","), (",", "")])
@pytest.mark.parametrize("gender", ["Patient Gender", "Patient Sex"])
def test_all_versions_of_the_table_are_read(tmp_path: Path, name: str, end: str, row_end: str, gender: str) -> None:
    header = HEADER.replace("Patient Gender", gender) + end
    row = read_one(tmp_path, ROW.replace(",57,", ",058Y,") + row_end, header=header, name=name)
    assert row.attributes["patient_gender"] == "M"
    assert row.attributes["pixel_spacing_y"] == "0.144"
    assert row.attributes["patient_age"] == "058Y"  # as published


def test_lists_say_the_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, *(ROW.replace("1_000", f"1_00{number}") for number in range(4)))
    (tmp_path / LISTS["test"]).write_text("00000001_001.png\r\n00000001_002.png\r\n", encoding="utf-8")
    assert [row.split for row in read(tmp_path)] == ["unlisted", "test", "test", "unlisted"]
    assert any(f"{LISTS['train_val']} is absent" in message for message in caplog.messages)
    (tmp_path / LISTS["train_val"]).write_text("00000001_000.png\n00000001_001.png\n", encoding="utf-8")
    assert [row.split for row in read(tmp_path)] == [
        "train_val",
        "test",
        "test",
        "unlisted",
    ]  # a name in both lists belongs to the test


@pytest.mark.parametrize("text", ["", "none\n404\n"])
def test_a_list_that_is_none_is_one_line(tmp_path: Path, text: str) -> None:
    (write(tmp_path, ROW) / LISTS["test"]).write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=r"test_list\.txt: not a list of images"):
        next(read(tmp_path))
