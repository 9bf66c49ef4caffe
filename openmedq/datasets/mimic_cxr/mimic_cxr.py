"""MIMIC-CXR: 377,110 chest radiographs of 227,835 studies with their reports (Johnson et al., 2019).

Layout, as two projects of PhysioNet publish it, side by side or in one folder, a few levels deep:

- MIMIC-CXR-JPG (https://physionet.org/content/mimic-cxr-jpg/2.1.0/):
  `mimic-cxr-2.0.0-{split,metadata,chexpert,negbio}.csv.gz` (also named so in 2.1.0; gzipped or not), of which only the
  split table is required, and `files/p10/p<subject>/s<study>/<dicom>.jpg`. `IMAGE_FILENAMES`, which lists the images,
  and `SHA256SUMS.txt` are only used for downloads.
- MIMIC-CXR (https://physionet.org/content/mimic-cxr/2.1.0/): the reports, `files/p10/p<subject>/s<study>.txt`, in
  `mimic-cxr-reports.zip`, which is read in place, or unpacked.

A sample is an image with the sections of its study's report (see `mimic_cxr/report_sections.py`).

Users have agreed not to share the data. So errors, logs and the details of rejected rows contain no text, image or id;
they name only tables and archives. Ids are only in the rows that are written.

- The images of a study, one to several, share its report. Two studies can have the same report.
- `___` replaces names, dates and ages that were removed.
- Some reports have neither findings nor impression, and their last paragraph is the report. Some are empty.
- Some reports compare with an earlier study that is not part of the sample.
- Labels are 1.0, 0.0, -1.0 (uncertain) or empty; a few studies have none.
- A few studies lack their report, and a few images are absent.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import (
    Content,
    Record,
    Unusable,
    keep,
    list_absent,
    represent,
    take_optional_text,
    take_text,
)
from openmedq.datasets.mimic_cxr.physionet import (
    ADVICE,
    LISTING,
    SUMS,
    TERMS,
    Texts,
    find_file,
    list_files,
    locate_files,
    table_beside,
)
from openmedq.datasets.mimic_cxr.report_sections import ANSWERS, read_sections
from openmedq.datasets.readers.tables import stream_table
from openmedq.errors import SourceError
from openmedq.schema import Groups, Image, Reason, Rejected, Role, Sample, Task, Turn

TABLES = {name: f"mimic-cxr-2.0.0-{name}.csv.gz" for name in ("split", "metadata", "chexpert", "negbio")}
REPORTS = "mimic-cxr-reports.zip"
CANARY = "canary-7f3a-do-not-share"  # in reports of the miniature, to test that no report leaves the data folder

_JPG = "https://physionet.org/files/mimic-cxr-jpg/2.1.0"

card = Card(
    id="mimic_cxr",
    title="MIMIC-CXR",
    aliases=(
        *("MIMIC-CXR-JPG", "mimic-cxr-jpg-chest-radiographs-with-structured-labels"),
        *("mimic-cxr-database", "physionet.org"),
    ),
    homepage="https://physionet.org/content/mimic-cxr-jpg/2.1.0/",
    citation="Johnson et al., MIMIC-CXR, a de-identified publicly available database of chest radiographs, 2019",
    licence="PhysioNet-Credentialed-1.5.0",
    access=Access.CREDENTIALED,
    task=Task.REPORT,
    modality="radiology",
    files=(
        *(File(path=name, url=f"{_JPG}/{name}") for name in (*TABLES.values(), LISTING, SUMS)),
        File(path=REPORTS, url=f"https://physionet.org/files/mimic-cxr/2.1.0/{REPORTS}", about_bytes=142_000_000),
    ),
    linked_bytes=557_600_000_000,  # the images
    # The test split is never trained on. The OpenMedQ paper does not evaluate on it, so it is used for validation.
    roles={"train": Role.TRAIN, "validate": Role.VALIDATION, "test": Role.VALIDATION},
    published_rows={"train": 368_960, "validate": 2_991, "test": 5_159},  # images, as the paper counts them
    terms=f"{TERMS}\nThe agreement: https://physionet.org/content/mimic-cxr-jpg/view-dua/2.1.0/",
    advice=ADVICE,
)

_IDS = ("dicom_id", "study_id", "subject_id")
_DICOM_ID = re.compile(r"[0-9A-Za-z-]+")
_NUMBER = re.compile(r"[0-9]{3,}")
_WORD_BORDER = re.compile(r"(?<=[a-z])(?=[A-Z])")


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the images of the split table; SourceError if it is absent, or if both reports and images are.

    Memory holds the ids and metadata of the images, the labels of each study and the directory of the reports' archive:
    500 MB for the whole dataset.
    """
    names = {name: (published, published.removesuffix(".gz")) for name, published in TABLES.items()}
    found, folders = locate_files(raw, {**names, "reports": (REPORTS,)})
    path = found.get("split")
    if path is None:
        raise SourceError(f"{raw}: no `{TABLES['split']}`; expected it there, as published at {card.homepage}")
    if "reports" not in found and not folders:
        raise SourceError(f"{path}: neither `{REPORTS}` nor `files/p10` to `p19`; expected them beside it")
    metadata = table_beside(found.get("metadata"), "dicom_id", _IDS)
    labels = {name: table_beside(found.get(name), "study_id", _IDS) for name in ("chexpert", "negbio")}
    seen: set[str] = set()

    def identify(_: str, record: Record) -> tuple[str, str]:
        dicom_id = _take_id(record, "dicom_id", _DICOM_ID)
        split = take_text(record, "split")
        if split not in card.roles:
            raise Unusable(Reason.FIELD_MISSING, "field `split` is not one of " + ", ".join(card.roles))
        if dicom_id in seen:  # not left to `represent`, which quotes the id
            raise Unusable(Reason.ID_REPEATED, "an earlier record has its `dicom_id` too")
        seen.add(dicom_id)
        return dicom_id, split

    def build(record: Record, split: str) -> Content:
        dicom_id = _take_id(record, "dicom_id", _DICOM_ID)
        subject_id, study_id = (_take_id(record, name, _NUMBER) for name in ("subject_id", "study_id"))
        study = f"p{subject_id[:2]}/p{subject_id}/s{study_id}"
        image_path = find_file(folders, f"{study}/{dicom_id}.jpg")
        if image_path is None:
            raise Unusable(Reason.IMAGE_MISSING, "no image of that name in its study's folder")
        sections = dict(take_report(f"{study}.txt"))
        context = sections.pop("indication", "")
        turns = [Turn(name, sections.pop(name)) for name in (*ANSWERS, "report") if name in sections]
        if not turns:
            raise Unusable(Reason.ANSWER_EMPTY, "the study's report is empty")
        if context:
            turns[0] = replace(turns[0], context=f"Indication: {context}")
        described = json.loads(metadata.get(dicom_id, "{}"))
        attributes = {_to_snake_case(name): take_optional_text(described, name) for name in described}
        attributes |= {name: _join_labels(json.loads(table.get(study_id, "{}"))) for name, table in labels.items()}
        return {
            "turns": tuple(turns),
            "images": (Image(dicom_id, path=image_path),),
            "groups": Groups(patient=subject_id, study=study_id),
            "attributes": keep(**(attributes | sections)),
        }

    with ExitStack() as stack:
        absent = f"no report of the study; `{REPORTS}` of the project MIMIC-CXR contains it"
        texts = Texts(found.get("reports"), folders, stack, absent=absent)

        @lru_cache(maxsize=4)  # the images of a study are adjacent
        def take_report(name: str) -> dict[str, str]:
            return read_sections(texts.take(name))

        records = stream_table(path, (*_IDS, "split"), is_secret=True)
        yield from represent(card, records, raw=raw, path=path, identify=identify, build=build, unit="line")
        num_unread = sum(bool(_DICOM_ID.fullmatch(dicom_id)) for dicom_id in metadata.keys() - seen)
        unread = (f"absent-{number}" for number in range(1, 1 + num_unread))  # numbered, to name no id
        yield from list_absent(card, unread, split="", raw=raw, path=found.get("metadata", path))


def more_files(raw: Path) -> Iterator[File]:
    """Yield the images in the downloaded list, and the tables again with the project's checksums."""
    return list_files(raw, _JPG, (*TABLES.values(), LISTING))


def _take_id(record: Record, name: str, pattern: re.Pattern[str]) -> str:
    """Return an id that is safe in a path."""
    text = take_text(record, name)
    if not pattern.fullmatch(text):
        raise Unusable(Reason.FIELD_MISSING, f"field `{name}` is not an id")
    return text


def _join_labels(row: Record) -> str:
    return "; ".join(f"{name}={take_optional_text(row, name)}" for name in row)


def _to_snake_case(name: str) -> str:
    return _WORD_BORDER.sub("_", "_".join(name.split())).lower()
