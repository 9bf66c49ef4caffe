from __future__ import annotations

import csv
import gzip
import io
import logging
import random
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.datasets.iu_xray.iu_xray import card, read
from openmedq.datasets.iu_xray.open_i import MAX_REPORT_BYTES
from openmedq.errors import SourceError
from openmedq.schema import Groups, Provenance, Reason, Rejected, Sample, Turn

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


def pack(path: Path, files: Mapping[str, bytes], mode: Any = "w:gz") -> None:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write(raw: Path, reports: list[bytes], pictures: Mapping[str, bytes] | None = None) -> Path:
    """Both archives; without `pictures`, the two that `report()` and GOOD name."""
    raw.mkdir(parents=True, exist_ok=True)
    names = ("CXR1_1_IM-0001-3001.png", "CXR9_IM-0009-1001.png")
    pack(raw / "NLMCXR_reports.tgz", {f"ecgen-radiology/{n}.xml": data for n, data in enumerate(reports, start=1)})
    pack(raw / "NLMCXR_png.tgz", dict.fromkeys(names, PICTURE) if pictures is None else pictures)
    return raw


def unpack(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    path.unlink()


def read_one(raw: Path, data: bytes) -> Sample | Rejected:
    """The one row of a report that lies beside a good one."""
    rows = list(read(write(raw, [data, GOOD])))
    (other,) = [row for row in rows if row.id == "iu_xray/CXR9_IM-0009-1001"]
    assert isinstance(other, Sample)
    (row,) = [row for row in rows if row is not other]
    return row


def samples(rows: list[Sample | Rejected]) -> list[Sample]:
    return [row for row in rows if isinstance(row, Sample)]


def test_a_record_is_kept_whole(tmp_path: Path) -> None:
    row = read_one(tmp_path, report())
    assert isinstance(row, Sample)
    assert (row.id, row.source, row.split) == ("iu_xray/CXR1_1_IM-0001-3001", "iu_xray", "train")
    assert row.turns == (
        Turn("findings", "Lungs < clear.", context="Indication: Cough."),
        Turn("impression", "Normal x-XXXX."),
    )
    assert (row.task, row.modality, row.licence) == (card.task, "radiology", "CC-BY-NC-ND-4.0")
    (image,) = row.images
    assert (image.image_id, image.data, image.path) == ("CXR1_1_IM-0001-3001.png", PICTURE, None)
    assert row.groups == Groups(study="CXR1")
    assert row.provenance == Provenance("NLMCXR_reports.tgz", "ecgen-radiology/1.xml, parentImage 1")
    assert row.attributes == {
        "comparison": "None.",
        "mesh_major": "Mass/large;Spine",
        "mesh_automatic": "mass",
        "caption": "PA and lateral",
        "figure_id": "F1",
    }


def test_a_section_in_two_parts_is_one_text(tmp_path: Path) -> None:
    data = report().replace(
        b"</Abstract>", b'<AbstractText Label="findings">And <b>so</b> on.</AbstractText></Abstract>'
    )
    row = read_one(tmp_path, data)
    assert isinstance(row, Sample)
    assert row.turns[0].answer == "Lungs < clear.\nAnd so on."


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.FIELD_MISSING),
        (b"<html>404</html>", Reason.FIELD_MISSING),
        (report()[:-40], Reason.FIELD_MISSING),
        (report(uid=None), Reason.FIELD_MISSING),
        (report(uid=" "), Reason.FIELD_MISSING),
        (report(images=(None,)), Reason.FIELD_MISSING),
        (report(sections={}), Reason.FIELD_MISSING),
        (report().replace(b" Label=", b" Name="), Reason.FIELD_MISSING),
        (report().replace(b"eCitation", b"article"), Reason.FIELD_MISSING),
        (report(sections={"FINDINGS": random.Random(0).randbytes(MAX_REPORT_BYTES // 2).hex()}), Reason.FIELD_MISSING),
        (report().replace(b"clear", b"\x00clear"), Reason.FIELD_MISSING),
        (report().replace(b"Cough", b"cou\xe9h"), Reason.NOT_UTF8),
        (report(sections={"FINDINGS": " ", "IMPRESSION": ""}), Reason.ANSWER_EMPTY),
        (report(images=()), Reason.IMAGE_MISSING),
        (report(images=("CXR1_IM-absent",)), Reason.IMAGE_MISSING),
        (report(images=("../../NLMCXR_png",)), Reason.IMAGE_MISSING),
    ],
)
def test_what_can_not_be_represented_is_rejected(tmp_path: Path, data: bytes, reason: Reason) -> None:
    row = read_one(tmp_path, data)
    assert isinstance(row, Rejected)
    assert row.reason is reason
    assert row.provenance.file == "NLMCXR_reports.tgz"
    assert row.provenance.record.startswith("ecgen-radiology/1.xml, ")
    assert "clear" not in row.detail


def test_an_id_that_comes_twice_is_rejected_the_second_time(tmp_path: Path) -> None:
    again = report("CXR8", ("CXR9_IM-0009-1001 ", "CXR9_IM-0009-2001"))
    rows = list(read(write(tmp_path, [GOOD, again, report("CXR7", ()), report("CXR7", ())])))
    assert {(row.id, getattr(row, "reason", None)) for row in rows} == {
        ("iu_xray/CXR9_IM-0009-1001", None),
        ("iu_xray/NLMCXR_reports.tgz-2", Reason.ID_REPEATED),
        ("iu_xray/CXR9_IM-0009-2001", Reason.IMAGE_MISSING),
        ("iu_xray/CXR7", Reason.IMAGE_MISSING),
        ("iu_xray/NLMCXR_reports.tgz-5", Reason.ID_REPEATED),
    }


BOMB = b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10))


@pytest.mark.parametrize(
    "doctype",
    [
        b'<!DOCTYPE eCitation [<!ENTITY a0 "secret">' + BOMB + b"]>",
        b'<!DOCTYPE eCitation [<!ENTITY a9 "secret">]>',
        b'<!DOCTYPE eCitation [<!ENTITY a9 SYSTEM "file:///etc/passwd">]>',
        b'<!DOCTYPE eCitation SYSTEM "http://example.org/x.dtd">',
        b"",  # an entity that nothing declares
    ],
)
def test_entities_are_neither_expanded_nor_fetched(tmp_path: Path, doctype: bytes) -> None:
    data = report().replace(b"<eCitation>", doctype + b"<eCitation>", 1).replace(b"Cough", b"&a9;")
    row = read_one(tmp_path, data)
    assert isinstance(row, Rejected)
    assert row.reason is Reason.FIELD_MISSING
    assert "a9" not in row.detail


def test_another_declared_encoding_changes_nothing(tmp_path: Path) -> None:
    data = report(sections={"FINDINGS": "Fièvre."}).replace(b"utf-8", b"utf-16")
    row = read_one(tmp_path, b"\xef\xbb\xbf" + data)
    assert isinstance(row, Sample)
    assert row.turns == (Turn("findings", "Fièvre."),)


# The quirks, as the miniature carries them ----------------------------------------------------------------------------


def miniature_rows(miniature_of: Callable[[str], Path]) -> list[Sample | Rejected]:
    return list(read(miniature_of("iu_xray")))


def test_a_section_that_is_absent_is_no_turn(miniature_of: Callable[[str], Path], tmp_path: Path) -> None:
    counts = Counter(tuple(turn.question for turn in row.turns) for row in samples(miniature_rows(miniature_of)))
    assert counts == {("findings", "impression"): 79, ("impression",): 12, ("findings",): 2}
    row = read_one(tmp_path, report(sections={"INDICATION": "Cough.", "IMPRESSION": "Normal."}))
    assert isinstance(row, Sample)
    assert row.turns == (Turn("impression", "Normal.", context="Indication: Cough."),)


def test_absent_and_unnamed_pictures(miniature_of: Callable[[str], Path], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rows = miniature_rows(miniature_of)
    assert any("1 images that no report names" in message for message in caplog.messages)
    (absent,) = [row for row in rows if isinstance(row, Rejected) and row.detail.startswith("no image ")]
    assert absent.reason is Reason.IMAGE_MISSING
    assert absent.detail == f"no image {absent.id.removeprefix('iu_xray/')}.png"


def test_the_licence_is_the_reports(miniature_of: Callable[[str], Path], tmp_path: Path) -> None:
    assert {row.licence for row in samples(miniature_rows(miniature_of))} == {card.licence}
    row = read_one(tmp_path, report(licence="https://creativecommons.org/licenses/by/3.0/"))
    assert isinstance(row, Sample)
    assert row.licence == "CC-BY-3.0"
    row = read_one(tmp_path, report(licence="http://example.org/terms"))
    assert isinstance(row, Sample)
    assert row.licence == "http://example.org/terms", "what is stated is not taken for the card's"
    row = read_one(tmp_path, report(licence=""))
    assert isinstance(row, Sample)
    assert row.licence == card.licence


# Where the files lie --------------------------------------------------------------------------------------------------


def repack(path: Path, suffix: str) -> None:
    with tarfile.open(path) as archive:
        files = {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]
    path.unlink()
    target = path.with_suffix("").with_name(path.stem + suffix)
    if suffix == ".zip":
        with zipfile.ZipFile(target, "w") as packed:
            for name, data in files.items():
                packed.writestr(name, data)
    else:
        pack(target, {f"./{name}": data for name, data in files.items()}, mode="w:gz" if suffix == ".tar.gz" else "w")


def move_down(raw: Path) -> None:
    (raw / "IU X-Ray").mkdir()
    for path in raw.glob("*.tgz"):
        path.rename(raw / "IU X-Ray" / path.name)


def unpack_both(reports: str, pictures: str) -> Callable[[Path], None]:
    def change(raw: Path) -> None:
        unpack(raw / "NLMCXR_reports.tgz", raw / reports)
        unpack(raw / "NLMCXR_png.tgz", raw / pictures)

    return change


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "unpacked beside": unpack_both(".", "NLMCXR_png"),
    "unpacked into folders": unpack_both("reports", "images"),
    "unpacked here": unpack_both(".", "."),
    "one level down": unpack_both("iu/NLMCXR_reports", "iu/images/NLMCXR_png"),
    "reports alone unpacked": lambda raw: unpack(raw / "NLMCXR_reports.tgz", raw),
    "pictures alone unpacked": lambda raw: unpack(raw / "NLMCXR_png.tgz", raw / "NLMCXR_png"),
    "archives in a folder": move_down,
    "zip": lambda raw: [repack(raw / f"NLMCXR_{name}.tgz", ".zip") for name in ("reports", "png")] and None,
    "tar": lambda raw: [repack(raw / f"NLMCXR_{name}.tgz", ".tar") for name in ("reports", "png")] and None,
    "tar.gz": lambda raw: [repack(raw / f"NLMCXR_{name}.tgz", ".tar.gz") for name in ("reports", "png")] and None,
}


def bytes_of(row: Sample | Rejected) -> bytes:
    if isinstance(row, Rejected):
        return row.reason.encode()
    (image,) = row.images
    return image.data if image.data is not None else image.path.read_bytes()  # type: ignore[union-attr]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_may_lie_as_the_archives_unpack(layout: str, copy_of: Callable[[str], Path]) -> None:
    raw = copy_of("iu_xray")
    expected = {row.id: bytes_of(row) for row in read(raw)}
    LAYOUTS[layout](raw)
    rows = list(read(raw))
    assert len(rows) == len(expected)
    assert {row.id: bytes_of(row) for row in rows} == expected
    assert all((raw / row.provenance.file).is_file() for row in rows)


def test_what_is_not_among_the_loose_pictures_is_looked_for_in_the_archive(tmp_path: Path) -> None:
    raw = write(tmp_path, [report(), GOOD])
    (raw / "logo.png").write_bytes(b"no radiograph")
    (raw / ".thumbnails").mkdir()
    (raw / ".thumbnails/CXR1_1_IM-0001-3001.png").write_bytes(b"small")
    (raw / "NLMCXR_png").mkdir()
    (raw / "NLMCXR_png/CXR9_IM-0009-1001.png").write_bytes(b"loose")
    rows = samples(list(read(raw)))
    assert {row.images[0].image_id: bytes_of(row) for row in rows} == {
        "CXR9_IM-0009-1001.png": b"loose",
        "CXR1_1_IM-0001-3001.png": PICTURE,
    }


def test_an_archive_of_pictures_that_all_lie_beside_it_is_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    raw = write(tmp_path, [report(), GOOD])
    whole = (raw / "NLMCXR_png.tgz").read_bytes()
    unpack(raw / "NLMCXR_png.tgz", raw / "NLMCXR_png")
    (raw / "NLMCXR_png.tgz").write_bytes(whole[:50])  # reading it would be an error
    assert len(samples(list(read(raw)))) == 2
    assert any("NLMCXR_png.tgz: not read" in message for message in caplog.messages)


def test_of_several_copies_one_is_read_and_the_others_named(
    copy_of: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    raw = copy_of("iu_xray")
    with tarfile.open(raw / "NLMCXR_reports.tgz") as archive:
        archive.extractall(raw, filter="data")
    (raw / "annotation.json").write_text("{}", encoding="utf-8")
    write_tables(raw, [KAGGLE_REPORT], [KAGGLE_PICTURE])
    assert {row.provenance.file for row in read(raw)} == {"NLMCXR_reports.tgz"}
    for name in ("ecgen-radiology", "annotation.json", "indiana_reports.csv"):
        assert any(f"{name}: not read" in message for message in caplog.messages)


def test_of_two_folders_with_reports_the_fuller_one_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    unpack(write(tmp_path / "part", [report()]) / "NLMCXR_reports.tgz", tmp_path / "part")
    unpack(write(tmp_path / "whole", [report(), GOOD]) / "NLMCXR_reports.tgz", tmp_path / "whole")
    assert {row.provenance.file for row in read(tmp_path)} == {f"whole/ecgen-radiology/{n}.xml" for n in (1, 2)}
    assert any("part/ecgen-radiology: not read" in message for message in caplog.messages)


def test_the_derived_copy_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "annotation.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SourceError, match=r"annotation\.json: R2Gen's copy.*expected `NLMCXR_reports\.tgz`"):
        next(read(tmp_path))


# Damage ---------------------------------------------------------------------------------------------------------------


def test_a_damaged_picture_costs_its_row_alone(tmp_path: Path) -> None:
    raw = write(tmp_path, [report(), GOOD])
    repack(raw / "NLMCXR_png.tgz", ".zip")
    data = (raw / "NLMCXR_png.zip").read_bytes()
    (raw / "NLMCXR_png.zip").write_bytes(data.replace(b"do not look", b"do not care", 1))
    rows = {type(row): row for row in read(raw)}
    assert rows[Rejected].reason is Reason.IMAGE_UNREADABLE  # type: ignore[union-attr]
    assert rows[Rejected].id == "iu_xray/CXR1_1_IM-0001-3001"
    assert str(tmp_path) not in rows[Rejected].detail  # type: ignore[union-attr]
    assert rows[Sample].id == "iu_xray/CXR9_IM-0009-1001"


def test_a_damaged_report_costs_its_rows_alone(tmp_path: Path) -> None:
    raw = write(tmp_path, [report(), GOOD])
    repack(raw / "NLMCXR_reports.tgz", ".zip")
    data = (raw / "NLMCXR_reports.zip").read_bytes()
    (raw / "NLMCXR_reports.zip").write_bytes(data.replace(b"Cough.", b"Fever.", 1))
    rejected, kept = read(raw)
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.FIELD_MISSING
    assert isinstance(kept, Sample)


@pytest.mark.parametrize(
    ("reports", "problem"),
    [
        ([], "it holds no record"),
        ([b"<other/>"], "the XML is not an `eCitation`, in all of its 1 records"),
        ([b"nonsense", b""], "the report is not XML: line 1, column 0, in all of its 2 records"),
        ([b"nonsense", b"<html>404</html>"], "none of its 2 records"),
        ([report(None), report(None, ("CXR2_IM-2",))], "field `uid` is empty, in all of its 2 records"),
    ],
)
def test_another_layout_is_one_line(tmp_path: Path, reports: list[bytes], problem: str) -> None:
    with pytest.raises(SourceError, match=rf"NLMCXR_reports\.tgz: not the published layout: {problem}"):
        list(read(write(tmp_path, reports)))


def test_pictures_alone_are_no_set(copy_of: Callable[[str], Path]) -> None:
    raw = copy_of("iu_xray")
    (raw / "NLMCXR_reports.tgz").unlink()
    with pytest.raises(SourceError, match=r"no report; expected `NLMCXR_reports\.tgz`"):
        next(read(raw))


# Work and memory ------------------------------------------------------------------------------------------------------


def test_pictures_are_read_forwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"CXR{number}_IM-{number}" for number in range(200)]
    random.Random(0).shuffle(names)
    reports = [report(f"CXR{number}", (f"CXR{number}_IM-{number}",)) for number in range(200)]
    noise = random.Random(1).randbytes(50_000)  # so that the buffers of a reader don't hold the archive
    raw = write(tmp_path, reports, {f"{name}.png": noise for name in names})
    num_rewinds = 0
    rewind = gzip._GzipReader._rewind  # type: ignore[attr-defined]

    def count(self: Any) -> None:
        nonlocal num_rewinds
        num_rewinds += 1
        rewind(self)

    monkeypatch.setattr(gzip._GzipReader, "_rewind", count)  # type: ignore[attr-defined]
    assert [row.id for row in read(raw)] == [f"iu_xray/{name}" for name in names]
    assert num_rewinds <= 4  # per archive: from its end, which is looked at first, and from its index


# Kaggle's copy --------------------------------------------------------------------------------------------------------

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
    assert isinstance(row, Sample)
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
        (
            [KAGGLE_REPORT | {"uid": "2", "findings": "\udce9"}],
            [KAGGLE_PICTURE | {"uid": "2", "filename": f"2_{number}.png"} for number in (1, 2)],
            [Reason.NOT_UTF8] * 2,
        ),
        (
            [KAGGLE_REPORT | {"uid": "2", "findings": "", "impression": ""}],
            [KAGGLE_PICTURE | {"uid": "2", "filename": "2_1.png"}],
            [Reason.ANSWER_EMPTY],
        ),
    ],
)
def test_no_row_of_kaggle_is_lost(
    tmp_path: Path, reports: list[dict[str, str]], pictures: list[dict[str, str]], reasons: list[Reason]
) -> None:
    rows = list(read(write_kaggle(tmp_path, [KAGGLE_REPORT, *reports], [KAGGLE_PICTURE, *pictures])))
    assert [row.id for row in samples(rows)] == ["iu_xray/1_IM-0001-4001.dcm"]
    assert [row.reason for row in rows if isinstance(row, Rejected)] == reasons
    assert len({row.id for row in rows}) == len(rows)


def test_a_stray_xml_beside_the_tables_is_no_report(tmp_path: Path) -> None:
    raw = write_kaggle(tmp_path, [KAGGLE_REPORT], [KAGGLE_PICTURE])
    (raw / "notes.xml").write_text("<notes/>", encoding="utf-8")
    assert len(samples(list(read(raw)))) == 1


def test_kaggles_pictures_may_be_zipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    raw = write_tables(tmp_path, [KAGGLE_REPORT], [KAGGLE_PICTURE])
    with zipfile.ZipFile(raw / "archive.zip", "w") as archive:
        archive.writestr("indiana_reports.csv", "no picture")
        archive.writestr("images/images_normalized/1_IM-0001-4001.dcm.png", PICTURE)
    (row,) = read(raw)
    assert bytes_of(row) == PICTURE
    assert not any("no report names" in message for message in caplog.messages)


def test_of_kaggles_archive_alone_it_is_said_what_to_do(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("indiana_reports.csv", "uid")
    with pytest.raises(SourceError, match=r"no report; expected .*, or Kaggle's `archive\.zip` unpacked"):
        next(read(tmp_path))


@pytest.mark.parametrize(("name", "column"), [("indiana_reports", "findings"), ("indiana_projections", "filename")])
def test_a_renamed_column_is_one_line(tmp_path: Path, name: str, column: str) -> None:
    raw = write_kaggle(tmp_path, [KAGGLE_REPORT], [KAGGLE_PICTURE])
    path = raw / f"{name}.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(column, "renamed", 1), encoding="utf-8")
    with pytest.raises(SourceError, match=rf"{name}\.csv: no column `{column}`"):
        list(read(raw))


@pytest.mark.parametrize("name", ["indiana_projections.csv", "indiana_reports.csv"])
def test_one_table_alone_is_no_set(tmp_path: Path, name: str) -> None:
    raw = write_kaggle(tmp_path, [KAGGLE_REPORT], [KAGGLE_PICTURE])
    (raw / name).unlink()
    with pytest.raises(SourceError) as error:
        next(read(raw))
    assert "\n" not in str(error.value)
    assert str(raw) in str(error.value)


# No record crashes the reader -----------------------------------------------------------------------------------------

TEXT = st.text("aé <&\n\u2028X;=/", max_size=6)


@settings(max_examples=100)
@given(
    reports=st.lists(
        st.binary(max_size=30)
        | st.fixed_dictionaries(
            {},
            optional={
                "uid": st.none() | TEXT,
                "images": st.lists(st.none() | TEXT | st.just("CXR9_IM-0009-1001"), max_size=3).map(tuple),
                "sections": st.dictionaries(st.sampled_from([*SECTIONS, "OTHER"]), TEXT, max_size=4),
                "mesh": st.sampled_from(["", "<major/>", "<major>a</major>", "<other>b</other>"]),
            },
        ),
        max_size=5,
    )
)
def test_no_report_crashes_the_reader(tmp_path: Path, reports: list[Any]) -> None:
    write(tmp_path, [data if isinstance(data, bytes) else report(**data) for data in reports])
    num_rows = 0
    for data in reports:
        is_whole = isinstance(data, dict) and set(SECTIONS) & set(data.get("sections", SECTIONS))
        num_rows += max(1, len(data.get("images", (1,)))) if is_whole else 1
    rows = []
    try:
        rows.extend(read(tmp_path))
    except SourceError as error:
        assert "\n" not in str(error)
    else:
        assert len(rows) == num_rows
    assert len({row.id for row in rows}) == len(rows)
    assert all("\n" not in row.id + row.provenance.record for row in rows)
