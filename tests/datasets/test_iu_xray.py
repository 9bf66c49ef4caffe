import random
import zipfile
from collections.abc import Mapping
from html import escape
from pathlib import Path

import pytest

from openmedq.datasets.iu_xray.iu_xray import card, read
from openmedq.datasets.iu_xray.layouts import MAX_REPORT_BYTES
from openmedq.errors import SourceError
from openmedq.schema import Groups, Provenance, Reason, Rejected, Sample, Turn
from openmedq.synthetic.files import save, to_csv
from tests.datasets import faults
from tests.datasets.conftest import samples

SECTIONS = {"COMPARISON": "None.", "INDICATION": "Cough.", "FINDINGS": "Lungs < clear.", "IMPRESSION": "Normal x-XXXX."}
LICENCE = "http://creativecommons.org/licenses/by-nc-nd/4.0/"
PICTURE = b"no picture: readers do not look"


def report(
    uid: str | None = "CXR1",
    images: tuple[str | None, ...] = ("CXR1_1_IM-0001-3001",),
    sections: Mapping[str, str] = SECTIONS,
    mesh: str = "<major>Mass/large </major><major>Spine</major><automatic>mass</automatic>",
    licence: str = LICENCE,
) -> bytes:
    names = ("" if name is None else f' id="{escape(name)}"' for name in images)
    views = "".join(
        f"<parentImage{name}><figureId>F{number}</figureId>"
        f"<caption> PA and lateral </caption><panel><url>/x/{number}.jpg</url></panel></parentImage>\n"
        for number, name in enumerate(names, start=1)
    )
    texts = "".join(f'<AbstractText Label="{label}">{escape(text)}</AbstractText>' for label, text in sections.items())
    head = "" if uid is None else f'<uId id="{escape(uid)}"/>'
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<eCitation>{head}<licenseURL>{licence}</licenseURL>'
        f"<MedlineCitation><Article><Abstract>{texts}</Abstract></Article></MedlineCitation>"
        f"<MeSH>{mesh}</MeSH>\n{views}</eCitation>"
    ).encode()


GOOD = report("CXR9", ("CXR9_IM-0009-1001",))


def write(raw: Path, reports: list[bytes], pictures: Mapping[str, bytes] | None = None) -> Path:
    """Write both archives; the default images are those that `report()` and GOOD name."""
    raw.mkdir(parents=True, exist_ok=True)
    names = ("CXR1_1_IM-0001-3001.png", "CXR9_IM-0009-1001.png")
    faults.pack(
        raw / "NLMCXR_reports.tgz", {f"ecgen-radiology/{n}.xml": data for n, data in enumerate(reports, start=1)}
    )
    faults.pack(raw / "NLMCXR_png.tgz", dict.fromkeys(names, PICTURE) if pictures is None else dict(pictures))
    return raw


def read_one(raw: Path, data: bytes) -> Sample | Rejected:
    """The row of a report, read together with a good one."""
    rows = list(read(write(raw, [data, GOOD])))
    (other,) = [row for row in rows if row.id == "iu_xray/CXR9_IM-0009-1001"]
    assert isinstance(other, Sample)
    (row,) = [row for row in rows if row is not other]
    return row


def test_a_section_in_two_parts_is_one_text(tmp_path: Path) -> None:
    data = report().replace(
        b"</Abstract>", b'<AbstractText Label="findings">And <b>so</b> on.</AbstractText></Abstract>'
    )
    row = read_one(tmp_path, data)
    assert row.turns[0].answer == "Lungs < clear.\nAnd so on."


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (report()[:-40], Reason.FIELD_MISSING),
        (report(uid=None), Reason.FIELD_MISSING),
        (report(images=(None,)), Reason.FIELD_MISSING),
        (report().replace(b" Label=", b" Name="), Reason.FIELD_MISSING),
        (report().replace(b"eCitation", b"article"), Reason.FIELD_MISSING),
        (report(sections={"FINDINGS": random.Random(0).randbytes(MAX_REPORT_BYTES // 2).hex()}), Reason.FIELD_MISSING),
        (report().replace(b"Cough", b"cou\xe9h"), Reason.NOT_UTF8),
        (report(sections={"FINDINGS": " ", "IMPRESSION": ""}), Reason.ANSWER_EMPTY),
        (report(images=()), Reason.IMAGE_MISSING),
        (report(images=("../../NLMCXR_png",)), Reason.IMAGE_MISSING),
    ],
)
def test_an_unusable_report_is_rejected(tmp_path: Path, data: bytes, reason: Reason) -> None:
    row = read_one(tmp_path, data)
    assert row.reason is reason
    assert row.provenance.file == "NLMCXR_reports.tgz"
    assert row.provenance.record.startswith("ecgen-radiology/1.xml, ")
    assert "clear" not in row.detail


BOMB = b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10))


@pytest.mark.parametrize(
    "doctype",
    [
        b'<!DOCTYPE eCitation [<!ENTITY a0 "secret">' + BOMB + b"]>",
        b'<!DOCTYPE eCitation [<!ENTITY a9 SYSTEM "file:///etc/passwd">]>',
        b"",  # an undeclared entity
    ],
)
def test_entities_are_neither_expanded_nor_fetched(tmp_path: Path, doctype: bytes) -> None:
    data = report().replace(b"<eCitation>", doctype + b"<eCitation>", 1).replace(b"Cough", b"&a9;")
    row = read_one(tmp_path, data)
    assert row.reason is Reason.FIELD_MISSING
    assert "a9" not in row.detail


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
    for name, rows, columns in (
        ("indiana_reports.csv", reports, KAGGLE_REPORT),
        ("indiana_projections.csv", pictures, KAGGLE_PICTURE),
    ):
        text = to_csv([*columns], *([row[column] for column in columns] for row in rows))
        save(raw / name, text.encode("utf-8", "surrogateescape"))
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


def test_kaggles_copy_is_read_where_kagglehub_puts_it(tmp_path: Path) -> None:
    write_kaggle(tmp_path / "versions/2", [KAGGLE_REPORT], [KAGGLE_PICTURE])
    (row,) = samples(read(tmp_path))
    assert row.images[0].path and row.images[0].path.read_bytes() == PICTURE


def test_kaggles_pictures_may_be_zipped(tmp_path: Path) -> None:
    raw = write_tables(tmp_path, [KAGGLE_REPORT], [KAGGLE_PICTURE])
    with zipfile.ZipFile(raw / "archive.zip", "w") as archive:
        archive.writestr("indiana_reports.csv", "no picture")
        archive.writestr("images/images_normalized/1_IM-0001-4001.dcm.png", PICTURE)
    (row,) = samples(read(raw))
    assert row.images[0].data == PICTURE


@pytest.mark.parametrize("name", ["indiana_projections.csv", "indiana_reports.csv"])
def test_one_table_alone_is_no_set(tmp_path: Path, name: str) -> None:
    raw = write_kaggle(tmp_path, [KAGGLE_REPORT], [KAGGLE_PICTURE])
    (raw / name).unlink()
    with pytest.raises(SourceError) as error:
        next(read(raw))
    assert "\n" not in str(error.value)
    assert str(raw) in str(error.value)
