"""MIMIC-CXR: errors, logs and details of rejected rows contain no text and no id of a record."""

import csv
import gzip
import logging
import re
import shutil
import zipfile

import pytest

from openmedq.datasets.mimic_cxr.mimic_cxr import CANARY, REPORTS, TABLES, read
from openmedq.errors import SourceError
from openmedq.schema import Rejected
from tests.datasets.conftest import FolderOf
from tests.datasets.test_mimic_cxr import rewrite


@pytest.mark.parametrize("name", TABLES)
def test_a_renamed_column_is_one_line_that_quotes_nothing(copy_of: FolderOf, name: str) -> None:
    raw = copy_of("mimic_cxr")
    table = csv.DictReader(gzip.decompress((raw / TABLES["split"]).read_bytes()).decode().splitlines())
    ids = {row[column] for row in table for column in ("dicom_id", "study_id", "subject_id")}
    column = "study_id" if name in ("chexpert", "negbio") else "dicom_id"
    rewrite(raw / TABLES[name], lambda lines: [lines[0].replace(column, column.upper()), *lines[1:]])
    with pytest.raises(SourceError, match=f"{re.escape(TABLES[name])}: no column `{column}`"):
        list(read(raw))
    rewrite(raw / TABLES[name], lambda lines: lines[1:])  # without a header, the first record is in its place
    with pytest.raises(SourceError) as error:
        list(read(raw))
    assert ids and not any(found in str(error.value) for found in ids)


@pytest.mark.parametrize("spoil", ["cut", "unsafe", "linked", "damaged", "twice", "text", "repeated", "no folder"])
def test_no_error_no_log_and_no_detail_tells_of_a_record(
    copy_of: FolderOf, caplog: pytest.LogCaptureFixture, spoil: str
) -> None:
    raw = copy_of("mimic_cxr")
    caplog.set_level(logging.DEBUG)
    archive = raw / REPORTS
    whole = archive.read_bytes()
    with zipfile.ZipFile(archive) as opened:
        name = opened.namelist()[0]
    if spoil == "cut":
        archive.write_bytes(whole[: len(whole) // 2])
    elif spoil in ("unsafe", "linked"):
        info = zipfile.ZipInfo(f"../{name}" if spoil == "unsafe" else f"more/{name}")
        info.external_attr = 0o120777 << 16 if spoil == "linked" else 0
        with zipfile.ZipFile(archive, "a") as opened:
            opened.writestr(info, CANARY)
    elif spoil == "damaged":
        archive.write_bytes(whole.replace(b"mass", b"mess"))
    elif spoil == "twice":
        with zipfile.ZipFile(archive, "w") as opened:
            for folder in ("one", "two"):
                opened.writestr(f"{folder}/{name}", CANARY)
    elif spoil == "text":
        rewrite(raw / TABLES["split"], lambda lines: [lines[0], *(f'"{line}"' for line in lines[1:])])
    elif spoil == "repeated":
        rewrite(raw / TABLES["split"], lambda lines: [*lines, lines[-1]])
    else:
        shutil.rmtree(raw / "files")
    told = []
    try:
        told += [row.detail for row in read(raw) if isinstance(row, Rejected)]
    except SourceError as error:
        told.append(str(error))
    assert told
    for text in (*told, *caplog.messages):
        assert not re.search(r"\d{8}|[0-9a-f]{8}-", text.replace(str(raw), "")), text
        assert "canary" not in text
        assert "mass" not in text
