"""MIMIC-CXR: fields, layouts and files to download."""

import csv
import gzip
import io
import shutil
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from openmedq.datasets.mimic_cxr import mimic_cxr
from openmedq.datasets.mimic_cxr.mimic_cxr import CANARY, REPORTS, TABLES, card, read
from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Role, Sample
from tests.datasets.conftest import FolderOf, samples

# Not real ids: PhysioNet's are larger.
DICOM = "0badcafe-00000001-00000002-00000003-00000004"
OTHER = "0badcafe-00000005-00000006-00000007-00000008"
STUDY = "p10/p10000000/s50000000"
ROW = {"dicom_id": DICOM, "study_id": "50000000", "subject_id": "10000000", "split": "train"}
GOOD = ROW | {"dicom_id": OTHER}
METADATA = {
    "dicom_id": DICOM,
    "subject_id": "10000000",
    "study_id": "50000000",
    "PerformedProcedureStepDescription": "CHEST (PORTABLE AP)",
    "ViewPosition": "AP",
    "Rows": "3056",
    "Columns": "2544",
    "StudyDate": "21800506",
    "StudyTime": "213014.531",
    "ProcedureCodeSequence_CodeMeaning": "CHEST (PORTABLE AP)",
    "ViewCodeSequence_CodeMeaning": "antero-posterior",
    "PatientOrientationCodeSequence_CodeMeaning": "Erect",
}
LABELS = {"subject_id": "10000000", "study_id": "50000000", "Edema": "-1.0", "Fracture": "", "Pleural Effusion": "1.0"}
REPORT = f"""\
                                 FINAL REPORT
 EXAMINATION:  CHEST (PORTABLE AP)
\x20
 INDICATION:  ___F with cough, {CANARY}.
\x20
 COMPARISON:  ___.
\x20
 FINDINGS:
\x20
 The lungs are  clear.
 {CANARY}
\x20
 IMPRESSION:  No acute process.
"""


def pack(rows: Sequence[dict[str, str]], names: Sequence[str] = ()) -> bytes:
    text = io.StringIO()
    # The reader treats a lone \r as a line end, and the writer quotes it only with QUOTE_ALL.
    quoting = csv.QUOTE_ALL if any("\r" in value for row in rows for value in row.values()) else csv.QUOTE_MINIMAL
    writer = csv.DictWriter(text, list(names) or list(rows[0]), restval="", lineterminator="\n", quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def write(raw: Path, rows: Sequence[dict[str, str]] = (ROW,), report: str | bytes | None = REPORT) -> Path:
    for row in (ROW, GOOD):
        picture = raw / "files" / STUDY / f"{row['dicom_id']}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(b"a reader does not look")
    tables = {"split": rows, "metadata": [METADATA], "chexpert": [LABELS], "negbio": [LABELS | {"Edema": "0.0"}]}
    for name, records in tables.items():
        (raw / TABLES[name]).write_bytes(gzip.compress(pack(records, list(ROW) if name == "split" else ())))
    with zipfile.ZipFile(raw / REPORTS, "w") as archive:
        if report is not None:
            archive.writestr(f"files/{STUDY}.txt", report)
    return raw


def rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(gzip.compress("\n".join([*change(lines), ""]).encode()))


def read_one(raw: Path, **changes: Any) -> Sample | Rejected:
    """The row of a changed record, read together with a good one."""
    first, second = read(write(raw, [ROW | changes, GOOD]))
    assert isinstance(second, Sample)
    return first


NO_REPORT = "no report of the study; `mimic-cxr-reports.zip` of the project MIMIC-CXR contains it"


def test_a_record_is_kept_whole(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path))
    assert (row.id, row.split, row.licence) == (f"mimic_cxr/{DICOM}", "train", "PhysioNet-Credentialed-1.5.0")
    assert (row.provenance.file, row.provenance.record) == (TABLES["split"], "line 2")
    assert [(turn.question, turn.answer, turn.context) for turn in row.turns] == [
        ("findings", f"The lungs are clear. {CANARY}", f"Indication: ___F with cough, {CANARY}."),
        ("impression", "No acute process.", ""),
    ]
    (image,) = row.images
    assert (image.image_id, image.path) == (DICOM, tmp_path / "files" / STUDY / f"{DICOM}.jpg")
    assert (row.groups.patient, row.groups.study) == ("10000000", "50000000")
    assert row.attributes == {
        "performed_procedure_step_description": "CHEST (PORTABLE AP)",
        "view_position": "AP",
        "rows": "3056",
        "columns": "2544",
        "study_date": "21800506",
        "study_time": "213014.531",
        "procedure_code_sequence_code_meaning": "CHEST (PORTABLE AP)",
        "view_code_sequence_code_meaning": "antero-posterior",
        "patient_orientation_code_sequence_code_meaning": "Erect",
        "chexpert": "Edema=-1.0; Pleural Effusion=1.0",
        "negbio": "Edema=0.0; Pleural Effusion=1.0",
        "examination": "CHEST (PORTABLE AP)",
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *(({name: ""}, Reason.FIELD_MISSING) for name in ROW),
        *(({name: CANARY}, Reason.FIELD_MISSING) for name in ("split", "study_id", "subject_id")),
        ({"dicom_id": "../../secret"}, Reason.FIELD_MISSING),
        ({"subject_id": "p10000000"}, Reason.FIELD_MISSING),
        ({"study_id": "../../../50000000"}, Reason.FIELD_MISSING),
        ({"dicom_id": "\udcff"}, Reason.NOT_UTF8),
        ({"dicom_id": DICOM[:-1]}, Reason.IMAGE_MISSING),
        ({"study_id": "50000001"}, Reason.IMAGE_MISSING),
    ],
)
def test_what_can_not_be_represented_is_rejected(tmp_path: Path, changes: dict[str, str], reason: Reason) -> None:
    row = read_one(tmp_path, **changes)
    assert row.reason is reason
    assert not any(value in row.detail for value in (CANARY, DICOM, ROW["study_id"], ROW["subject_id"]))


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (" INDICATION: Cough.\n", Reason.ANSWER_EMPTY),
        ("", Reason.ANSWER_EMPTY),
        (REPORT.encode() + b"\xff", Reason.NOT_UTF8),
    ],
)
def test_a_report_may_be_the_reason(tmp_path: Path, report: str | bytes, reason: Reason) -> None:
    (row,) = read(write(tmp_path, report=report))
    assert row.reason is reason


def test_a_report_that_is_absent_or_another_patients_is_rejected(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path, report=None))
    assert (row.reason, row.detail) == (Reason.FIELD_MISSING, NO_REPORT)
    with zipfile.ZipFile(tmp_path / REPORTS, "w") as archive:
        archive.writestr("files/p10/p10000001/s50000000.txt", REPORT)
    (row,) = read(tmp_path)
    assert isinstance(row, Rejected)


def test_what_only_describes_may_be_absent(tmp_path: Path, miniature_of: FolderOf) -> None:
    write(tmp_path)
    for name in ("metadata", "chexpert", "negbio"):
        (tmp_path / TABLES[name]).unlink()
    (row,) = read(tmp_path)
    assert row.attributes == {"examination": "CHEST (PORTABLE AP)"}
    views = Counter(row.attributes.get("view_position") for row in samples(read(miniature_of("mimic_cxr"))))
    assert set(views) == {"PA", "LATERAL", None}


def tell(rows: Iterator[Sample | Rejected]) -> list[Any]:
    """The rows without their provenance."""
    return [
        (row.id, row.reason) if isinstance(row, Rejected) else (row.id, row.turns, row.groups, row.attributes)
        for row in rows
    ]


@pytest.mark.parametrize("jpg", ["mimic-cxr-jpg/2.1.0", "mimic-cxr-jpg-2.1.0.physionet.org", "a/b/files/d"])
@pytest.mark.parametrize("dicom", ["mimic-cxr/2.1.0", ".", "physionet.org/files/mimic-cxr/2.1.0"])
@pytest.mark.parametrize("unpacked", [None, ".", "mimic-cxr-reports"])
def test_both_projects_may_lie_where_they_were_put(
    copy_of: FolderOf, tmp_path: Path, jpg: str, dicom: str, unpacked: str | None
) -> None:
    flat = copy_of("mimic_cxr")
    expected = tell(read(flat))
    raw = tmp_path / "raw"
    (raw / dicom).mkdir(parents=True)
    shutil.move(flat / REPORTS, raw / dicom / REPORTS)
    shutil.copytree(flat, raw / jpg, dirs_exist_ok=True)
    if unpacked:
        with zipfile.ZipFile(raw / dicom / REPORTS) as archive:
            archive.extractall(raw / dicom / unpacked)
        (raw / dicom / REPORTS).unlink()
    assert tell(read(raw)) == expected


def test_patients_folders_are_not_listed(copy_of: FolderOf, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = copy_of("mimic_cxr")
    listed = []
    scan = mimic_cxr.locate_files.__globals__["os"].scandir
    monkeypatch.setattr("os.scandir", lambda folder: [listed.append(Path(folder)), scan(folder)][1])
    list(read(raw))
    assert listed == [raw, raw / "files"]


def test_without_any_report_it_is_said_once(tmp_path: Path) -> None:
    write(tmp_path, [ROW, GOOD])
    (tmp_path / REPORTS).unlink()
    with pytest.raises(SourceError, match=rf"split\.csv\.gz: .*: {NO_REPORT}, in all of its 2 records"):
        list(read(tmp_path))
    shutil.rmtree(tmp_path / "files")
    with pytest.raises(SourceError, match=r"split\.csv\.gz: neither `mimic-cxr-reports\.zip` nor"):
        next(read(tmp_path))


def test_splits_have_their_published_names_and_the_test_never_trains(miniature_of: FolderOf) -> None:
    assert {row.split for row in samples(read(miniature_of("mimic_cxr")))} == {"train", "validate", "test"}
    assert [split for split, role in card.roles.items() if role is Role.TRAIN] == ["train"]
    patients = defaultdict(set)
    for row in samples(read(miniature_of("mimic_cxr"))):
        patients[row.groups.patient].add(row.split)
    assert {len(splits) for splits in patients.values()} == {1}
