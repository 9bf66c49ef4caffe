"""MIMIC-CXR: 377,110 chest radiographs of 227,835 studies with their reports (Johnson et al., 2019).

Layout read, as two projects on PhysioNet publish it, side by side or in one folder, a few levels down: of
MIMIC-CXR-JPG `mimic-cxr-2.0.0-{split,metadata,chexpert,negbio}.csv.gz` (so called in 2.1.0 too; .gz or unpacked) and
`files/p10/p<subject>/s<study>/<dicom>.jpg`; of MIMIC-CXR the reports `files/p10/p<subject>/s<study>.txt`, in
`mimic-cxr-reports.zip`, which is read in place, or unpacked. The tables beside the split's may be absent. For fetching
alone, not for reading, the card has `IMAGE_FILENAMES`, which lists the pictures, and `SHA256SUMS.txt`.

A sample is a picture with the report of its study, by sections (see `formats/report_sections.py`).

Whoever reads this set has signed not to share it: no text, no picture and no id of it stands in an error, in a log or
in the detail of a rejected record. Errors name tables and archives alone; ids stay in the rows that are written.

What is odd in the published files, and in the miniature:

- The second split is called `validate`.
- A study's pictures, one to several, share its report; and one report stands under two studies.
- Blanks `___` where names, dates and ages were removed.
- Headers vary: REASON FOR EXAM and HISTORY are the indication, CHEST, TWO VIEWS are findings, CONCLUSION and IMPRESSON
  the impression; a wet read stands before the final report.
- Reports without findings, and reports with neither findings nor impression: the last paragraph is the report.
- Reports without any header, and reports that tell nothing.
- Reports that compare with a prior study, which is not shown.
- `ViewPosition` is empty for many pictures.
- Labels are 1.0, 0.0, -1.0 (uncertain) or empty, and a few studies have none.
- A study whose report is absent, and a picture that is absent.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import textwrap
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from openmedq.cards import Access, Card, File
from openmedq.cards.drawing import Figure, draw, draw_figures, encode_jpeg, generator
from openmedq.cards.fields import Record, Unusable, keep, list_absent, represent, take_optional_text, take_text
from openmedq.errors import SourceError
from openmedq.formats.physionet import (
    ADVICE,
    LISTING,
    SUMS,
    TERMS,
    JoinedTable,
    Texts,
    find_file,
    list_files,
    stream_table,
    survey,
)
from openmedq.formats.report_sections import ANSWERS, read_sections
from openmedq.schema import Groups, Image, Provenance, Reason, Rejected, Role, Sample, Task, Turn

TABLES = {name: f"mimic-cxr-2.0.0-{name}.csv.gz" for name in ("split", "metadata", "chexpert", "negbio")}
REPORTS = "mimic-cxr-reports.zip"
CANARY = "canary-7f3a-do-not-share"  # in reports of the miniature: where it turns up, a real report would

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
    linked_bytes=557_600_000_000,  # the pictures
    # The published test never trains. The paper does not evaluate on it, so it validates.
    roles={"train": Role.TRAIN, "validate": Role.VALIDATION, "test": Role.VALIDATION},
    published_rows={"train": 368_960, "validate": 2_991, "test": 5_159},  # pictures, as the paper counts
    terms=f"{TERMS}\nThe agreement: https://physionet.org/content/mimic-cxr-jpg/view-dua/2.1.0/",
    advice=ADVICE,
)

_IDS = ("dicom_id", "study_id", "subject_id")
_DICOM_ID = re.compile(r"[0-9A-Za-z-]+")
_NUMBER = re.compile(r"[0-9]{3,}")
_WORD_BORDER = re.compile(r"(?<=[a-z])(?=[A-Z])")


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the pictures of the split table; SourceError where it is not there, or neither reports nor pictures are.

    Memory holds the pictures' ids, each study's labels and the directory of the reports' archive: 280 MB for the whole
    set. Metadata run beside the split table; where the two have another order, they wait in memory, in 120 MB more.
    """
    names = {name: (published, published.removesuffix(".gz")) for name, published in TABLES.items()}
    found, folders = survey(raw, {**names, "reports": (REPORTS,)})
    path = found.get("split")
    if path is None:
        raise SourceError(f"{raw}: no `{TABLES['split']}`; expected it there, as published at {card.homepage}")
    if "reports" not in found and not folders:
        raise SourceError(f"{path}: neither `{REPORTS}` nor `files/p10` to `p19`; expected them beside it")
    metadata = JoinedTable(found.get("metadata"), "dicom_id", _IDS, is_once=True)
    labels = {name: JoinedTable(found.get(name), "study_id", _IDS) for name in ("chexpert", "negbio")}
    seen: set[str] = set()

    def identify(_: str, record: Record) -> tuple[str, str]:
        dicom_id = _take_id(record, "dicom_id", _DICOM_ID)
        split = take_text(record, "split")
        if split not in card.roles:
            raise Unusable(Reason.FIELD_MISSING, "field `split` is none of " + ", ".join(card.roles))
        if dicom_id in seen:  # here and not in `represent`, whose detail names the id
            raise Unusable(Reason.ID_REPEATED, "its `dicom_id` stands for an earlier record too")
        seen.add(dicom_id)
        return dicom_id, split

    def build(record: Record, sample_id: str, split: str, provenance: Provenance) -> Sample:
        dicom_id = _take_id(record, "dicom_id", _DICOM_ID)
        described = metadata.take(dicom_id)  # whatever becomes of the record: a row that is passed by waits in memory
        subject_id, study_id = (_take_id(record, name, _NUMBER) for name in ("subject_id", "study_id"))
        study = f"p{subject_id[:2]}/p{subject_id}/s{study_id}"
        picture = find_file(folders, f"{study}/{dicom_id}.jpg")
        if picture is None:
            raise Unusable(Reason.IMAGE_MISSING, "no picture of that name in its study's folder")
        sections = dict(take_report(f"{study}.txt"))
        context = sections.pop("indication", "")
        turns = [Turn(name, sections.pop(name)) for name in (*ANSWERS, "report") if name in sections]
        if not turns:
            raise Unusable(Reason.ANSWER_EMPTY, "the study's report tells nothing")
        if context:
            turns[0] = replace(turns[0], context=f"Indication: {context}")
        attributes = {_to_snake_case(name): take_optional_text(described, name) for name in described}
        attributes |= {name: _join_labels(table.take(study_id)) for name, table in labels.items()}
        return Sample(
            id=sample_id,
            source=card.id,
            split=split,
            task=card.task,
            modality=card.modality,
            licence=card.licence,
            provenance=provenance,
            turns=tuple(turns),
            images=(Image(dicom_id, path=picture),),
            groups=Groups(patient=subject_id, study=study_id),
            attributes=keep(**(attributes | sections)),
        )

    with ExitStack() as stack:
        absent = f"no report of the study; `{REPORTS}`, of the project MIMIC-CXR, has it"
        texts = Texts(found.get("reports"), folders, stack, absent=absent)

        @lru_cache(maxsize=4)  # a study's pictures follow one another
        def take_report(name: str) -> dict[str, str]:
            return read_sections(texts.take(name))

        num_rows = 0
        for row in represent(
            stream_table(path, (*_IDS, "split")),
            source=card.id,
            unit="line",
            raw=raw,
            path=path,
            identify=identify,
            build=build,
            seen=None,
        ):
            num_rows += 1
            yield row
        unread = (
            f"absent-{number}" for number in range(1, 1 + metadata.count_rest(_DICOM_ID))
        )  # by number: no id is told
        where, num_other = found.get("metadata", path), num_rows - metadata.num_taken
        yield from list_absent(unread, source=card.id, split="", raw=raw, path=where, num_other=num_other)


def more_files(raw: Path) -> Iterator[File]:
    """The pictures, as the fetched list names them, and the tables again, held to the project's own digests."""
    return list_files(raw, _JPG, (*TABLES.values(), LISTING))


def _take_id(record: Record, name: str, pattern: re.Pattern[str]) -> str:
    """An id that a path can be made of."""
    text = take_text(record, name)
    if not pattern.fullmatch(text):
        raise Unusable(Reason.FIELD_MISSING, f"field `{name}` is no id")
    return text


def _join_labels(row: Record) -> str:
    return "; ".join(f"{name}={take_optional_text(row, name)}" for name in row)


def _to_snake_case(name: str) -> str:
    return _WORD_BORDER.sub("_", "_".join(name.split())).lower()


# The miniature --------------------------------------------------------------------------------------------------------

_SPLITS = ("train", "train", "train", "validate", "test")  # of patients, in turn
_LABELS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture"),
    *("Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia"),
    *("Pneumothorax", "Support Devices"),
)
_METADATA = (
    *("dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows", "Columns"),
    *("StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning"),
    "PatientOrientationCodeSequence_CodeMeaning",
)
_VIEWS = (("PA", "postero-anterior"), ("LATERAL", "lateral"), ("", ""))  # of a study's first, second and third picture
_ABSENT = 1  # of the pictures, by number
_UNREPORTED, _EMPTY, _COPIED, _COPY, _UNLABELLED = 18, 26, 28, 36, 45  # of the studies, by number


class _Study(NamedTuple):
    subject_id: str
    study_id: str
    split: str
    pictures: dict[str, Figure]  # by DICOM id

    @property
    def path(self) -> str:
        return f"files/p{self.subject_id[:2]}/p{self.subject_id}/s{self.study_id}"


def miniature(raw: Path, seed: int = 0) -> None:
    """Write both projects into one folder: two rounds of chests, a study each, of one to three pictures."""
    random = generator(seed, card.id)
    studies = _draw_studies(seed, random)
    pictures = {f"{study.path}/{name}.jpg": shown for study in studies for name, shown in study.pictures.items()}
    pictures.pop(list(pictures)[_ABSENT])
    for name, figure in pictures.items():
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(encode_jpeg(draw(figure)))
    (raw / LISTING).write_text("".join(f"{name}\n" for name in pictures), encoding="utf-8")

    reports = [_compose_report(study, index) for index, study in enumerate(studies)]
    reports[_COPY] = reports[_COPIED]
    with zipfile.ZipFile(raw / REPORTS, "w") as archive:
        for index, (study, report) in enumerate(zip(studies, reports, strict=True)):
            if index != _UNREPORTED:
                archive.writestr(zipfile.ZipInfo(f"{study.path}.txt"), report)  # ZipInfo: no clock in the bytes

    rows = [(name, study, index) for study in studies for index, name in enumerate(study.pictures)]
    split = [(name, study.study_id, study.subject_id, study.split) for name, study, _ in rows]
    _write_table(raw / TABLES["split"], ("dicom_id", "study_id", "subject_id", "split"), split)
    _write_table(raw / TABLES["metadata"], _METADATA, [_describe(*row, random) for row in rows])
    for name in ("chexpert", "negbio"):
        _write_table(
            raw / TABLES[name],
            ("subject_id", "study_id", *_LABELS),
            [
                (study.subject_id, study.study_id, *random.choice(("1.0", "0.0", "-1.0", ""), len(_LABELS)))
                for index, study in enumerate(studies)
                if index != _UNLABELLED
            ],
        )
    summed = sorted([*TABLES.values(), LISTING, *pictures])
    digests = {name: hashlib.sha256((raw / name).read_bytes()).hexdigest() for name in summed}
    (raw / SUMS).write_text("".join(f"{digest} {name}\n" for name, digest in digests.items()), encoding="utf-8")


def _draw_studies(seed: int, random: np.random.Generator) -> list[_Study]:
    """Every fourth patient has two studies; patients and their studies in the order of their ids, as published."""
    figures = [figure for figure in draw_figures(seed, card.id, 2) if figure.organ == "chest"]
    figures[_COPY] = replace(figures[_COPIED], texture=figures[_COPY].texture)
    subjects = 10_000_000 + np.sort(random.choice(10_000_000, len(figures), replace=False))
    numbers = 50_000_000 + random.choice(10_000_000, len(figures), replace=False)
    patients = [patient for patient in range(len(figures)) for _ in range(2 if patient % 4 == 0 else 1)]
    studies = []
    for index, (figure, patient) in enumerate(zip(figures, patients, strict=False)):
        num_pictures = 1 + (index % 3 == 0) + (index % 12 == 0)
        shown = [replace(figure, texture=figure.texture + view) for view in range(num_pictures)]
        pictures = {"-".join(random.bytes(4).hex() for _ in range(5)): each for each in shown}
        split = _SPLITS[patient % len(_SPLITS)]
        studies.append(_Study(str(subjects[patient]), str(numbers[index]), split, pictures))
    return studies


def _describe(dicom_id: str, study: _Study, index: int, random: np.random.Generator) -> tuple[str, ...]:
    view, meaning = _VIEWS[index]
    date, time = f"21{study.study_id[-2:]}0506", f"{random.integers(24):02}{random.integers(60):02}14.531"
    procedure = "CHEST (PA AND LAT)"
    pixels = ("96", "96")
    erect = ("Erect" if view else "",)
    return (
        dicom_id,
        study.subject_id,
        study.study_id,
        procedure,
        view,
        *pixels,
        date,
        time,
        procedure,
        meaning,
        *erect,
    )


def _compose_report(study: _Study, index: int) -> str:
    """A report in one of eight forms, with what the first picture shows; the others show the same."""
    figure = next(iter(study.pictures.values()))
    size, level = "large" if figure.is_large else "small", "bright" if figure.is_bright else "dark"
    clips = "1 clip is" if figure.num_clips == 1 else f"{figure.num_clips} clips are"
    canary = f" {CANARY}." if index % 5 == 0 else ""
    findings = f"There is a {size} mass in the {figure.position}. {clips} seen. The background is {level}.{canary}"
    impression = f"{size.capitalize()} mass in the {figure.position}.{canary}"
    why = f"___ year old {'woman' if index % 2 else 'man'} with a mass." + (f" {CANARY}." if index % 7 == 0 else "")
    if index == _EMPTY:
        return _lay_out(f"INDICATION:  {why}", "COMPARISON:  ___.")
    forms = (
        (
            *("EXAMINATION:  CHEST (PA AND LAT)", f"INDICATION:  {why}", "TECHNIQUE:  PA and lateral views."),
            *("COMPARISON:  ___.", "FINDINGS:", findings, "IMPRESSION:", impression),
        ),
        (f"HISTORY:  {why}", f"IMPRESSION:  {impression}"),
        (f"REASON FOR EXAM:  {why}", f"CHEST, TWO VIEWS:  {findings}", f"CONCLUSION:  {impression}"),
        (f"CLINICAL HISTORY:  {why}", f"FINDINGS AND IMPRESSION:  {findings}"),
        (
            *(f"INDICATION:  {why}", "COMPARISON:  Chest radiograph of ___."),
            *(f"FINDINGS:  Compared to the prior, the mass has grown. {findings}", f"IMPRESSON:  {impression}"),
        ),
        (f"INDICATION:  {why}", "COMPARISON:  None.", findings),
        ("PORTABLE CHEST OF ___", findings),
        (f"INDICATION:  {why}", f"FINDINGS:  {findings}", f"IMPRESSION:  {impression}"),
    )
    wet_read = f" WET READ: ___ ___ 10:05 PM\n  {impression}\n {'_' * 78}\n" if index % len(forms) == 7 else ""
    return wet_read + _lay_out(*forms[index % len(forms)])


def _lay_out(*paragraphs: str) -> str:
    """Lines begin with a space, and so do blank ones, as published."""
    wrapped = (
        textwrap.fill(text, 79, initial_indent=" ", subsequent_indent=" ", break_on_hyphens=False)
        for text in paragraphs
    )
    return " " * 33 + "FINAL REPORT\n" + "\n \n".join(wrapped) + "\n"


def _write_table(path: Path, names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([names, *rows])
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
