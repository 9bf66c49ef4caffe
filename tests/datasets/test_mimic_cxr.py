import gzip
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from openmedq.datasets.mimic_cxr import mimic_cxr
from openmedq.datasets.mimic_cxr.mimic_cxr import REPORTS, TABLES, read
from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected
from tests.datasets import faults
from tests.datasets.conftest import FolderOf, samples

NO_REPORT = "no report of the study; `mimic-cxr-reports.zip` of the project MIMIC-CXR contains it"


def rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(gzip.compress("\n".join([*change(lines), ""]).encode()))


@pytest.mark.parametrize(
    ("report", "name", "reason"),
    [
        (b" INDICATION: Cough.\n", "", Reason.ANSWER_EMPTY),
        (b"", "", Reason.ANSWER_EMPTY),
        (b" IMPRESSION: Clear.\xff", "", Reason.NOT_UTF8),
        (b" IMPRESSION: Clear.\n", "files/p10/p10000001/{}", Reason.FIELD_MISSING),  # of another patient
    ],
)
def test_a_report_may_be_the_reason(copy_of: FolderOf, report: bytes, name: str, reason: Reason) -> None:
    raw = copy_of("mimic_cxr")
    members = faults.members_of(raw / REPORTS)
    first = next(iter(members))
    del members[first]
    faults.pack(raw / REPORTS, {name.format(Path(first).name) or first: report, **members})
    row = next(iter(read(raw)))
    assert isinstance(row, Rejected) and row.reason is reason
    assert row.detail == NO_REPORT or not name


def test_tables_that_only_describe_may_be_absent(copy_of: FolderOf) -> None:
    raw = copy_of("mimic_cxr")
    views = Counter(row.attributes.get("view_position") for row in samples(read(raw)))
    assert set(views) == {"PA", "LATERAL", None}
    for name in ("metadata", "chexpert", "negbio"):
        (raw / TABLES[name]).unlink()
    assert len(samples(read(raw))) == sum(views.values())
    assert not any({"view_position", "chexpert"} & row.attributes.keys() for row in samples(read(raw)))


@pytest.mark.parametrize(
    ("jpg", "dicom", "unpacked"),
    [
        ("mimic-cxr-jpg/2.1.0", "mimic-cxr/2.1.0", None),
        ("mimic-cxr-jpg-2.1.0.physionet.org", ".", "."),
        ("mimic-cxr-jpg/2.1.0", "physionet.org/files/mimic-cxr/2.1.0", "mimic-cxr-reports"),
        ("a/b/files/d", "mimic-cxr/2.1.0", "."),
        ("a/b/files/d", ".", None),
    ],
)
def test_both_projects_may_lie_where_they_were_put(
    copy_of: FolderOf, tmp_path: Path, jpg: str, dicom: str, unpacked: str | None
) -> None:
    flat = copy_of("mimic_cxr")
    expected = faults.read("mimic_cxr", flat)
    raw = tmp_path / "raw"
    (raw / dicom).mkdir(parents=True)
    shutil.move(flat / REPORTS, raw / dicom / REPORTS)
    shutil.copytree(flat, raw / jpg, dirs_exist_ok=True)
    if unpacked:
        with zipfile.ZipFile(raw / dicom / REPORTS) as archive:
            archive.extractall(raw / dicom / unpacked)
        (raw / dicom / REPORTS).unlink()
    assert faults.read("mimic_cxr", raw) == expected


def test_patients_folders_are_not_listed(copy_of: FolderOf, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = copy_of("mimic_cxr")
    listed = []
    scan = mimic_cxr.locate_files.__globals__["os"].scandir
    monkeypatch.setattr("os.scandir", lambda folder: [listed.append(Path(folder)), scan(folder)][1])
    list(read(raw))
    assert listed == [raw, raw / "files"]


def test_without_any_report_it_is_said_once(copy_of: FolderOf) -> None:
    raw = copy_of("mimic_cxr")
    rewrite(raw / TABLES["split"], lambda lines: [lines[0], *lines[4:6]])
    (raw / REPORTS).unlink()
    with pytest.raises(SourceError, match=rf"split\.csv\.gz: .*: {NO_REPORT}, in all of its 2 records"):
        list(read(raw))
    shutil.rmtree(raw / "files")
    with pytest.raises(SourceError, match=r"split\.csv\.gz: neither `mimic-cxr-reports\.zip` nor"):
        next(read(raw))
