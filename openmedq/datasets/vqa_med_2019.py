"""VQA-Med 2019: four categories of questions about radiology images from MedPix (Ben Abacha et al., ImageCLEF 2019).

Source: https://zenodo.org/records/10499039

Layout, in the raw folder or up to two folders below it: `ImageClef-2019-VQA-Med-Training.zip`,
`ImageClef-2019-VQA-Med-Validation.zip` and `VQAMed2019Test.zip`, which are read in place, or the unpacked folders.

- `All_QA_Pairs_{train,val}.txt` has the lines `image|question|answer`. Images: `{Train,Val}_images/<image>.jpg`.
- `VQAMed2019_Test_Questions_w_Ref_Answers.txt` has the lines `image|category|question|answer`.
- A question that these files lack, but `QAPairsByCategory/` or `VQAMed2019_Test_Questions.txt` has, is rejected as
  absent.

Known irregularities of the published files, which the miniature reproduces:

- In the test split `#` separates alternative answers: the first one is the answer, the others are alternatives.
- In the test split `(...)` is an optional part of an answer: the answer keeps it, an alternative omits it. In the other
  splits parentheses belong to a class name (`ct w/contrast (iv)`), and `#` has no documented meaning.
- Training and validation lines have no category. It comes from the files in `QAPairsByCategory`.
- The test images are a zip inside the test zip, with a folder of the same name in it. That zip also has `__MACOSX`.
- Line ends are LF or CRLF, and a carriage return may occur within a line.
- The images are from MedPix, like those of VQA-RAD, and have the same names there.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import Content, Record, Unusable, find_image, keep, list_absent, represent, take_text
from openmedq.datasets.readers import (
    Place,
    find_below,
    find_files_below,
    find_places,
    not_found,
    use_first,
    warn_absent,
)
from openmedq.schema import Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.archives import MemberPath, open_inner
from openmedq.storage.lookup import ArchivedImages, ChainedImages, FolderImages, ImageLookup, open_spare
from openmedq.storage.texts import open_text

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
    """The names of a split's files. `suffix` belongs to the files by category, which the test split does not have."""

    name: str
    folder: str
    text: str
    fields: tuple[str, ...]
    images: tuple[str, ...]
    suffix: str = ""

    @property
    def siblings(self) -> dict[str, str]:
        """Further files with the split's questions: name -> category, "" for all categories."""
        if not self.suffix:
            return {QUESTIONS: ""}
        return {f"{stem}_{self.suffix}.txt": category for category, stem in CATEGORIES.items()}


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


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions. SourceError if no split is present or a file is damaged."""
    texts = {split: find_places(raw, split.text, *split.siblings) for split in SPLITS}
    if not any(split.text in found for split, found in texts.items()):
        raise not_found(card, raw, f"`{_TRAINING}.zip`")
    for split, found in texts.items():
        if split.text in found:
            with _open_images(raw, split, found[split.text]) as images:
                yield from _read_split(raw, split, found, images)
        else:
            warn_absent(card.id, split.text, split.name)


@contextmanager
def _open_images(raw: Path, split: Split, text: Place) -> Iterator[ImageLookup]:
    """Open the images of a split: unpacked ones, then those in archives, which are opened when they are needed."""
    own = [text.archive] if isinstance(text, MemberPath) else []  # the archive of the text, whatever its name
    homes = dict.fromkeys(((text.archive if isinstance(text, MemberPath) else text).parent, raw))
    folders = dict.fromkeys(path for home in homes for path in find_below(home, *(f"{name}/" for name in split.images)))
    names = (*(f"{name}.zip" for name in split.images), f"{split.folder}.zip")
    named = [use_first(paths) for home in homes for name in names if (paths := find_files_below(home, name))]
    archives = dict.fromkeys((*named, *own))
    with ExitStack() as stack:

        def open_packed(path: Path) -> ImageLookup:
            members = stack.enter_context(open_spare(path))
            if members is None:
                return ChainedImages()
            inner = [stack.enter_context(open_inner(members, name)) for name in members.names if name.endswith(".zip")]
            return ChainedImages(map(ArchivedImages, (members, *inner)))

        where = ", ".join(dict.fromkeys(path.name for path in (*folders, *archives)))
        waiting = [partial(open_packed, path) for path in archives]
        yield ChainedImages(map(FolderImages, folders), waiting, where and f"in {where}")


def _read_split(raw: Path, split: Split, texts: dict[str, Place], images: ImageLookup) -> Iterator[Sample | Rejected]:
    categories = _read_categories(split, texts)
    present: set[_Question] = set()

    def identify(number: str, record: Record) -> tuple[str, str]:
        present.add(_to_question(record))
        return f"{split.name}-{number}", split.name

    def build(record: Record, _: str) -> Content:
        image_id = take_text(record, "image_id")
        question = take_text(record, "question", empty=Reason.QUESTION_EMPTY)
        answer, *alternatives = [take_text(record, "answer", empty=Reason.ANSWER_EMPTY)]
        category = categories.get((image_id, question), "")
        if split.text == REFERENCES:
            answer, *alternatives = _list_accepted(answer)
            category = take_text(record, "category").lower()
            if category not in CATEGORIES:
                raise Unusable(Reason.FIELD_MISSING, "field `category` is not one of " + ", ".join(CATEGORIES))
        answer_type = "closed" if answer.lower() in ("yes", "no") else "open"
        return {
            "turns": (Turn(question, answer, alternatives=tuple(alternatives)),),
            "images": (find_image(images, f"{image_id}.jpg"),),
            "attributes": keep(answer_type=answer_type, category=category, image_id=image_id),
        }

    place = texts[split.text]
    path = place.archive if isinstance(place, MemberPath) else place
    unit = f"{split.text} line" if isinstance(place, MemberPath) else "line"
    records = _parse(place, split.fields)
    yield from represent(card, records, unit=unit, raw=raw, path=path, identify=identify, build=build)
    num_absent = len(categories.keys() - present)
    names = (f"{split.name}-absent-{number}" for number in range(1, 1 + num_absent))
    sibling = QUESTIONS if split.text == REFERENCES else "QAPairsByCategory"
    yield from list_absent(card, names, split=split.name, raw=raw, path=path, sibling=sibling, unit=sibling)


def _parse(place: Place, fields: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str] | Unusable]]:
    """The fields of each line, with its number. Blank lines are skipped. The last field may contain `|`."""
    with open_text(place, newline="\n") as lines:  # a single carriage return does not end a line
        for number, line in enumerate(lines, start=1):
            values = line.rstrip("\n").split("|", len(fields) - 1)
            if len(values) == len(fields):
                yield str(number), dict(zip(fields, values, strict=True))
            elif line.strip():
                is_cut = not line.endswith("\n") and len(values) < len(fields)
                problem = f"the line has {len(values)} fields, not {len(fields)}"
                yield str(number), Unusable(Reason.FILE_TRUNCATED if is_cut else Reason.FIELD_MISSING, problem)


def _to_question(record: Record) -> _Question:
    return record["image_id"].strip(), record["question"].strip()


def _read_categories(split: Split, texts: dict[str, Place]) -> dict[_Question, str]:
    """The category of each image and question in the sibling files, at most 12,792; "" in the test split."""
    categories: dict[_Question, str] = {}
    for name, category in split.siblings.items():
        if name in texts:
            rows = _parse(texts[name], _PAIR if category else _PAIR[:2])
            categories |= {_to_question(record): category for _, record in rows if isinstance(record, dict)}
    return categories


def _list_accepted(answer: str) -> list[str]:
    """The answer and its alternatives, each followed by its form without the optional parts."""
    parts = [part.strip() for part in answer.split("#")]
    accepted = list(dict.fromkeys(form for part in parts for form in (part, _OPTIONAL.sub("", part).strip()) if form))
    if not accepted:
        raise Unusable(Reason.ANSWER_EMPTY, "field `answer` is empty")
    return accepted
