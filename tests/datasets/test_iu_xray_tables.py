"""IU X-Ray in Kaggle's copy: two tables."""

import csv
import zipfile
from pathlib import Path

import pytest

from openmedq.datasets.iu_xray.iu_xray import card, read
from openmedq.errors import SourceError
from openmedq.schema import Groups, Provenance, Reason, Rejected, Turn
from tests.datasets.conftest import samples
from tests.datasets.test_iu_xray import PICTURE

KAGGLE_REPORT = {
    "uid": "1",
    "MeSH": "Cardiomegaly/borderline;Spine",
    "Problems": "Cardiomegaly;Spine",
    "image": "Xray Chest PA and Lateral",
    "indication": "Positive TB test",
    "comparison": "None.",
    "findings": "There are no XXXX, of a pleural effusion.",
    "impression": "Normal chest x-XXXX.",
}


KAGGLE_PICTURE = {"uid": "1", "filename": "1_IM-0001-4001.dcm.png", "projection": "Frontal"}


def write_tables(raw: Path, reports: list[dict[str, str]], pictures: list[dict[str, str]]) -> Path:
    raw.mkdir(exist_ok=True)
    for name, rows, columns in (
        ("indiana_reports.csv", reports, KAGGLE_REPORT),
        ("indiana_projections.csv", pictures, KAGGLE_PICTURE),
    ):
        with (raw / name).open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(rows)
    return raw


def write_kaggle(raw: Path, reports: list[dict[str, str]], pictures: list[dict[str, str]]) -> Path:
    folder = write_tables(raw, reports, pictures) / "images/images_normalized"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / KAGGLE_PICTURE["filename"]).write_bytes(PICTURE)
    return raw


def test_a_row_of_kaggle_is_kept_whole(tmp_path: Path) -> None:
    (row,) = read(write_kaggle(tmp_path, [KAGGLE_REPORT], [KAGGLE_PICTURE]))
    assert (row.id, row.licence) == ("iu_xray/1_IM-0001-4001.dcm", card.licence)
    assert row.turns == (
        Turn("findings", KAGGLE_REPORT["findings"], context="Indication: Positive TB test"),
        Turn("impression", "Normal chest x-XXXX."),
    )
    (image,) = row.images
    assert image.image_id == "1_IM-0001-4001.dcm.png"
    assert image.path == tmp_path / "images/images_normalized/1_IM-0001-4001.dcm.png"
    assert row.groups == Groups(study="CXR1")  # as in the XML
    assert row.provenance == Provenance("indiana_projections.csv", "line 2")
    assert row.attributes == {
        "comparison": "None.",
        "mesh_major": "Cardiomegaly/borderline;Spine",
        "problems": "Cardiomegaly;Spine",
        "caption": "Xray Chest PA and Lateral",
        "projection": "Frontal",
    }


@pytest.mark.parametrize(
    ("reports", "pictures", "reasons"),
    [
        ([KAGGLE_REPORT | {"uid": "2"}], [], [Reason.IMAGE_MISSING]),
        ([KAGGLE_REPORT | {"uid": ""}], [], [Reason.FIELD_MISSING]),
        ([KAGGLE_REPORT], [], [Reason.ID_REPEATED]),
        ([], [KAGGLE_PICTURE], [Reason.ID_REPEATED]),
        ([], [KAGGLE_PICTURE | {"uid": "7", "filename": "7.png"}], [Reason.FIELD_MISSING]),
        ([], [KAGGLE_PICTURE | {"filename": ""}], [Reason.FIELD_MISSING]),
        ([], [KAGGLE_PICTURE | {"filename": "1_IM-2.dcm.png"}], [Reason.IMAGE_MISSING]),
        ([], [KAGGLE_PICTURE | {"filename": "1_\udce9.dcm.png"}], [Reason.NOT_UTF8]),
    ],
)
def test_no_row_of_kaggle_is_lost(
    tmp_path: Path, reports: list[dict[str, str]], pictures: list[dict[str, str]], reasons: list[Reason]
) -> None:
    rows = list(read(write_kaggle(tmp_path, [KAGGLE_REPORT, *reports], [KAGGLE_PICTURE, *pictures])))
    assert [row.id for row in samples(rows)] == ["iu_xray/1_IM-0001-4001.dcm"]
    assert [row.reason for row in rows if isinstance(row, Rejected)] == reasons
    assert len({row.id for row in rows}) == len(rows)


def test_kaggles_pictures_may_be_zipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = write_tables(tmp_path, [KAGGLE_REPORT], [KAGGLE_PICTURE])
    with zipfile.ZipFile(raw / "archive.zip", "w") as archive:
        archive.writestr("indiana_reports.csv", "no picture")
        archive.writestr("images/images_normalized/1_IM-0001-4001.dcm.png", PICTURE)
    (row,) = samples(read(raw))
    assert row.images[0].data == PICTURE
    assert not any("are in no record" in message for message in caplog.messages)


@pytest.mark.parametrize("name", ["indiana_projections.csv", "indiana_reports.csv"])
def test_one_table_alone_is_no_set(tmp_path: Path, name: str) -> None:
    raw = write_kaggle(tmp_path, [KAGGLE_REPORT], [KAGGLE_PICTURE])
    (raw / name).unlink()
    with pytest.raises(SourceError) as error:
        next(read(raw))
    assert "\n" not in str(error.value)
    assert str(raw) in str(error.value)
