"""The generated miniature of MIMIC-CXR."""

import gzip
import hashlib
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from openmedq.datasets.mimic_cxr.mimic_cxr import CANARY, REPORTS, TABLES, card
from openmedq.datasets.mimic_cxr.physionet import LISTING, SUMS
from openmedq.synthetic.draw import Figure, draw, draw_figures, encode_jpeg, generator
from openmedq.synthetic.files import join, save, to_csv, to_zip

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
_VIEWS = (
    ("PA", "postero-anterior"),
    ("LATERAL", "lateral"),
    ("", ""),
)  # of the first, second and third image of a study
_ABSENT = 1  # number of the absent image
_UNREPORTED, _EMPTY, _COPIED, _COPY, _UNLABELLED = 18, 26, 28, 36, 45  # numbers of studies


class _Study(NamedTuple):
    subject_id: str
    study_id: str
    split: str
    images: dict[str, Figure]  # by DICOM id

    @property
    def path(self) -> str:
        return f"files/p{self.subject_id[:2]}/p{self.subject_id}/s{self.study_id}"


def write(raw: Path, seed: int = 0) -> None:
    """Write both projects into one folder: two rounds of chests, each a study with one to three images."""
    random = generator(seed, card.id)
    studies = _draw_studies(seed, random)
    images = {f"{study.path}/{name}.jpg": shown for study in studies for name, shown in study.images.items()}
    images.pop(list(images)[_ABSENT])
    for name, figure in images.items():
        save(raw / name, encode_jpeg(draw(figure)))
    save(raw / LISTING, join(images))

    reports = [_compose_report(study, index) for index, study in enumerate(studies)]
    reports[_COPY] = reports[_COPIED]
    texts = {f"{study.path}.txt": report for study, report in zip(studies, reports, strict=True)}
    del texts[f"{studies[_UNREPORTED].path}.txt"]
    save(raw / REPORTS, to_zip(texts))

    rows = [(name, study, index) for study in studies for index, name in enumerate(study.images)]
    split = [(name, study.study_id, study.subject_id, study.split) for name, study, _ in rows]
    _write_table(raw / TABLES["split"], ("dicom_id", "study_id", "subject_id", "split"), *split)
    _write_table(raw / TABLES["metadata"], _METADATA, *(_describe(*row, random) for row in rows))
    for name in ("chexpert", "negbio"):
        _write_table(
            raw / TABLES[name],
            ("subject_id", "study_id", *_LABELS),
            *(
                (study.subject_id, study.study_id, *random.choice(("1.0", "0.0", "-1.0", ""), len(_LABELS)))
                for index, study in enumerate(studies)
                if index != _UNLABELLED
            ),
        )
    summed = sorted([*TABLES.values(), LISTING, *images])
    digests = {name: hashlib.sha256((raw / name).read_bytes()).hexdigest() for name in summed}
    save(raw / SUMS, join(f"{digest} {name}" for name, digest in digests.items()))


def _draw_studies(seed: int, random: np.random.Generator) -> list[_Study]:
    """Draw studies in the order of the patients' ids, as published; every fourth patient has two."""
    figures = [figure for figure in draw_figures(seed, card.id, 2) if figure.organ == "chest"]
    figures[_COPY] = replace(figures[_COPIED], texture=figures[_COPY].texture)
    subjects = 10_000_000 + np.sort(random.choice(10_000_000, len(figures), replace=False))
    numbers = 50_000_000 + random.choice(10_000_000, len(figures), replace=False)
    patients = [patient for patient in range(len(figures)) for _ in range(2 if patient % 4 == 0 else 1)]
    studies = []
    for index, (figure, patient) in enumerate(zip(figures, patients, strict=False)):
        num_images = 1 + (index % 3 == 0) + (index % 12 == 0)
        shown = [replace(figure, texture=figure.texture + view) for view in range(num_images)]
        images = {"-".join(random.bytes(4).hex() for _ in range(5)): each for each in shown}
        split = _SPLITS[patient % len(_SPLITS)]
        studies.append(_Study(str(subjects[patient]), str(numbers[index]), split, images))
    return studies


def _describe(dicom_id: str, study: _Study, index: int, random: np.random.Generator) -> tuple[str, ...]:
    view, meaning = _VIEWS[index]
    date, time = f"21{study.study_id[-2:]}0506", f"{random.integers(24):02}{random.integers(60):02}14.531"
    procedure, orientation = "CHEST (PA AND LAT)", "Erect" if view else ""
    ids = (dicom_id, study.subject_id, study.study_id)
    return (*ids, procedure, view, "96", "96", date, time, procedure, meaning, orientation)


def _compose_report(study: _Study, index: int) -> str:
    """Return a report in one of eight forms with the content of the study's images."""
    figure = next(iter(study.images.values()))
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
    """Lay out paragraphs as published: all lines start with a space, blank ones too."""
    wrapped = (
        textwrap.fill(text, 79, initial_indent=" ", subsequent_indent=" ", break_on_hyphens=False)
        for text in paragraphs
    )
    return " " * 33 + "FINAL REPORT\n" + "\n \n".join(wrapped) + "\n"


def _write_table(path: Path, *rows: Sequence[str]) -> None:
    save(path, gzip.compress(to_csv(*rows).encode(), mtime=0))
