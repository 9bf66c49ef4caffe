"""VQA-Med 2019: four kinds of questions on radiology pictures from MedPix (Ben Abacha et al., ImageCLEF 2019).

Layout read, as published on Zenodo: `ImageClef-2019-VQA-Med-Training.zip`, `ImageClef-2019-VQA-Med-Validation.zip`
and `VQAMed2019Test.zip`, read in place, or the folders that they unpack to, below the raw folder or two levels deeper.
A line of `All_QA_Pairs_{train,val}.txt` is `image|question|answer`; a picture is `{Train,Val}_images/<image>.jpg`.
A line of `VQAMed2019_Test_Questions_w_Ref_Answers.txt` is `image|category|question|answer`. Where only
`VQAMed2019_Test_Questions.txt` is there, its answers are withheld. A split that is absent is named in the log.
A question that another file of its split has (`QAPairsByCategory/`, the questions of the test) and the file above has
not is rejected: that file is cut.

What is odd in the published files, and in the miniature:

- A line of the test's references has four fields; one of the training and validation pairs has three.
- In the test `#` stands between answers that are all right: the first is the answer, the others are alternatives.
- In the test `(...)` is a part of an answer that may be left out: the answer keeps it, an alternative leaves it out.
  Elsewhere parentheses are part of a class's name (`ct w/contrast (iv)`), and nothing is said of `#`.
- Images are named without their ending.
- The category stands in the test's lines; of the other splits in the files of `QAPairsByCategory`, by category.
- The test's pictures are a zip within the test's zip, with a folder of the same name in it, so that unpacking nests it
  twice; the test's zip holds `__MACOSX` too.
- A few training pictures have fewer than four questions. Questions are templates, and the same for many pictures.
- Line ends are LF or CRLF, and a carriage return may stand alone.
- The pictures are from MedPix, as VQA-RAD's are, under the same names.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import Record, Unusable, keep, list_absent, represent, take_text
from openmedq.datasets.readers import warn_absent
from openmedq.datasets.readers.places import Place, find_places, open_place
from openmedq.errors import SourceError
from openmedq.schema import Image, Provenance, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.lookup import Pictures
from openmedq.storage.texts import decode_text

_URL = "https://zenodo.org/records/10499039/files"
_TRAINING, _VALIDATION, _TEST = "ImageClef-2019-VQA-Med-Training", "ImageClef-2019-VQA-Med-Validation", "VQAMed2019Test"
FILES = (f"{_TRAINING}.zip", f"{_VALIDATION}.zip", f"{_TEST}.zip", "README-VQA-Med-2019-Data.txt")

card = Card(
    id="vqa_med_2019",
    title="VQA-Med 2019",
    aliases=(
        *("abachaa/VQA-Med-2019", "ImageClef-2019-VQA-Med", "ImageCLEF-VQA-Med-2019", "VQA-Med", "10499039"),
        *(_TRAINING, _VALIDATION, _TEST),
    ),
    homepage="https://zenodo.org/records/10499039",
    citation="Ben Abacha et al., VQA-Med: Overview of the Medical VQA Task at ImageCLEF 2019, CLEF 2019 Working Notes",
    licence="CC-BY-4.0",
    access=Access.OPEN,
    task=Task.VQA,
    modality="radiology",
    files=tuple(File(path=name, url=f"{_URL}/{name}?download=1") for name in FILES),
    about_bytes=186_000_000,
    roles={"train": Role.TRAIN, "validation": Role.VALIDATION, "test": Role.EVALUATION},
    published_rows={"train": 12_792, "validation": 2000, "test": 500},
)


class Split(NamedTuple):
    """Where a split lies; `suffix` is that of its files by category, which the test has not."""

    name: str
    folder: str
    text: str
    fields: tuple[str, ...]
    pictures: tuple[str, ...]
    suffix: str = ""


_PAIR = ("image_id", "question", "answer")
_REFERENCE = ("image_id", "category", "question", "answer")
REFERENCES, QUESTIONS = "VQAMed2019_Test_Questions_w_Ref_Answers.txt", "VQAMed2019_Test_Questions.txt"
SPLITS = (
    Split("train", _TRAINING, "All_QA_Pairs_train.txt", _PAIR, ("Train_images",), "train"),
    Split("validation", _VALIDATION, "All_QA_Pairs_val.txt", _PAIR, ("Val_images",), "val"),
    Split("test", _TEST, REFERENCES, _REFERENCE, ("VQAMed2019_Test_Images", "Test_Images")),
)
CATEGORIES = {"modality": "C1_Modality", "plane": "C2_Plane", "organ": "C3_Organ", "abnormality": "C4_Abnormality"}
_Question = tuple[str, str]  # image, question
_OPTIONAL = re.compile(r"\s*\([^()]*\)")

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions of all splits that are there; SourceError where none is, or one is cut."""
    is_found, absent = False, []
    for split in SPLITS:
        withheld = () if split.suffix else (QUESTIONS,)
        paths = find_places(raw, split.text, f"{split.folder}.zip", *withheld)
        for other in paths[1:]:
            _log.info("%s: its questions are not read: %s holds the same split", other, paths[0])
        if not paths:
            absent.append(split)
        for path in paths[:1]:
            is_found = True
            with open_place(path, split.pictures, paths[1:]) as place:
                yield from _read_split(raw, place, split)
    if not is_found:
        raise SourceError(f"{raw}: no `{_TRAINING}.zip`; expected it there, as published at {card.homepage}")
    for split in absent:
        warn_absent(card.id, split.text, split.name)


def _read_split(raw: Path, place: Place, split: Split) -> Iterator[Sample | Rejected]:
    name, fields, data = split.text, split.fields, place.read(split.text)
    if data is None and not split.suffix:
        name, fields, data = QUESTIONS, ("image_id", "question"), place.read(QUESTIONS)
    if data is None:
        raise SourceError(f"{place.path}: no `{split.text}` in it; get it again from {card.homepage}")
    categories = _categories(place, split)
    met: set[_Question] = set()

    def identify(number: str, record: Record) -> tuple[str, str]:
        met.add(_to_question(record))
        return f"{split.name}-{number}", split.name

    def build(record: Record, sample_id: str, split_name: str, provenance: Provenance) -> Sample:
        image_id = take_text(record, "image_id")
        question = take_text(record, "question", empty=Reason.QUESTION_EMPTY)
        if name == QUESTIONS:
            raise Unusable(Reason.ANSWER_WITHHELD, f"{name} has no answers")
        answer, *alternatives = [take_text(record, "answer", empty=Reason.ANSWER_EMPTY)]
        category = categories.get((image_id, question), "")
        if name == REFERENCES:
            answer, *alternatives = _accepted(answer)
            category = take_text(record, "category").lower()
            if category not in CATEGORIES:
                raise Unusable(Reason.FIELD_MISSING, "field `category` is none of " + ", ".join(CATEGORIES))
        return Sample(
            id=sample_id,
            source=card.id,
            split=split_name,
            task=card.task,
            modality=card.modality,
            licence=card.licence,
            provenance=provenance,
            turns=(Turn(question, answer, alternatives=tuple(alternatives)),),
            images=(_find_picture(place.pictures, image_id),),
            attributes=keep(
                answer_type="closed" if answer.lower() in ("yes", "no") else "open",
                category=category,
                image_id=image_id,
            ),
        )

    yield from represent(
        _parse(data, fields),
        source=card.id,
        unit=f"{name} line" if place.members else "line",
        raw=raw,
        path=place.locate(name),
        identify=identify,
        build=build,
        seen=None,  # a line's number comes once
    )
    sibling = "QAPairsByCategory" if split.suffix else QUESTIONS
    known = categories if split.suffix else _questions(place)
    numbers = (f"{split.name}-absent-{number}" for number in range(1, 1 + len(known.keys() - met)))
    yield from list_absent(
        numbers, source=card.id, split=split.name, raw=raw, path=place.locate(name), sibling=sibling, unit=sibling
    )


def _parse(data: bytes, fields: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str] | Unusable]]:
    """The lines by field, each with its number; blank ones are none. The last field may hold a `|` itself."""
    lines = decode_text(data).split("\n")  # a carriage return alone ends no line
    for number, line in enumerate(lines, start=1):
        values = line.split("|", len(fields) - 1)
        if len(values) == len(fields):
            yield str(number), dict(zip(fields, values, strict=True))
        elif line.strip():
            problem = f"the line has {len(values)} fields, not {len(fields)}"
            is_cut = number == len(lines) and len(values) < len(fields)
            yield str(number), Unusable(Reason.FILE_TRUNCATED if is_cut else Reason.FIELD_MISSING, problem)


def _to_question(record: Record) -> _Question:
    return record["image_id"].strip(), record["question"].strip()


def _questions(place: Place) -> dict[_Question, str]:
    """The questions of the test, which stand without their answers in a file of their own."""
    rows = _parse(place.read(QUESTIONS) or b"", ("image_id", "question"))
    return {_to_question(record): "" for _, record in rows if isinstance(record, dict)}


def _categories(place: Place, split: Split) -> dict[_Question, str]:
    """The category of each image and question: 12,792 keys in memory at most. Empty where the files are absent."""
    categories = {}
    for category, stem in CATEGORIES.items() if split.suffix else ():
        for _, record in _parse(place.read(f"QAPairsByCategory/{stem}_{split.suffix}.txt") or b"", _PAIR):
            if isinstance(record, dict):
                categories[_to_question(record)] = category
    return categories


def _accepted(answer: str) -> list[str]:
    """The answer and its alternatives, each followed by itself without what may be left out."""
    parts = [part.strip() for part in answer.split("#")]
    accepted = list(dict.fromkeys(form for part in parts for form in (part, _OPTIONAL.sub("", part).strip()) if form))
    if not accepted:
        raise Unusable(Reason.ANSWER_EMPTY, "field `answer` is empty")
    return accepted


def _find_picture(pictures: Pictures, image_id: str) -> Image:
    for ending in (".jpg", ".png", ".jpeg", ""):
        if picture := pictures.find(image_id + ending):
            return picture
    raise Unusable(Reason.IMAGE_MISSING, f"no file {image_id}.jpg {pictures.where}")
