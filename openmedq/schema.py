"""What flows through the pipeline: `Sample` and `Rejected` in, `SAMPLE_SCHEMA` rows on disk.

Rows are slots dataclasses (pydantic is for settings: it costs ten times as much a row).
This module knows no dataset, no file and no model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pyarrow as pa


class Task(StrEnum):
    """What a sample asks for; decides how it becomes a conversation (see `vlm/prompt.py`)."""

    VQA = "vqa"  # a question on pictures, free or closed answer
    MULTIPLE_CHOICE = "multiple_choice"  # a question with options, with or without pictures
    CAPTION = "caption"  # describe the picture
    REPORT = "report"  # write a section of the report of a study
    TEXT_QA = "text_qa"  # a question without pictures, with or without context
    CLASSIFICATION = "classification"  # name the classes of the picture


class Role(StrEnum):
    """What a row may be used for. A row of `EVALUATION` never trains."""

    TRAIN = "train"
    VALIDATION = "validation"
    EVALUATION = "evaluation"


class Reason(StrEnum):
    """Why a record is no sample: it can't be represented, or the user or the publisher keeps it out (`WISHES`).

    Quality is no reason here: that is `validate`'s business.
    """

    FIELD_MISSING = "field missing"  # a field that the layout documents is absent or has the wrong type
    QUESTION_EMPTY = "question empty"
    ANSWER_EMPTY = "answer empty"
    ANSWER_NOT_AN_OPTION = "answer not an option"
    ANSWER_WITHHELD = "answer withheld"  # by the publisher: a challenge's hidden test
    ID_REPEATED = "id repeated"
    NOT_UTF8 = "not UTF-8"
    FILE_TRUNCATED = "file truncated"  # the file ends within the record
    RECORD_ABSENT = "record absent"  # another file of the set names it, its own file does not have it
    IMAGE_MISSING = "image missing"  # named in the annotation, not among the files
    IMAGE_UNREADABLE = "image unreadable"  # text, cut, or no picture at all
    IMAGE_UNEXPECTED = "Git LFS pointer or web page instead of image"  # the detail says which, and what to do
    IMAGE_TOO_LARGE = "image too large"  # more pixels than the bound: a bomb, or a slide
    FORGOTTEN = "forgotten"  # by request: `python -m openmedq forget ID`
    LANGUAGE_EXCLUDED = "language excluded"  # by the dial `normalize.languages`


WISHES = (Reason.ANSWER_WITHHELD, Reason.FORGOTTEN, Reason.LANGUAGE_EXCLUDED)  # nothing is wrong with such records


@dataclass(frozen=True, slots=True)
class Image:
    """One picture of a sample, bytes as published: at `path` on disk, or `data` out of an archive or table.

    `image_id` is the dataset's own name for the picture and the same for every sample that shows it.
    """

    image_id: str
    path: Path | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange. Sources fill in what the record says; `vlm/prompt.py` alone decides on the wording."""

    question: str  # "" where the task itself is the question (caption, report, classification)
    answer: str
    context: str = ""  # text given along with the question
    options: tuple[str, ...] = ()  # in published order; `answer` is then the text of one of them
    alternatives: tuple[str, ...] = ()  # other answers that the record accepts, for scoring only


@dataclass(frozen=True, slots=True)
class Groups:
    """Keys of what must not be torn apart between training and evaluation; None where the set has no such key."""

    patient: str | None = None
    study: str | None = None
    article: str | None = None  # PMC id
    case: str | None = None  # teaching-file case
    question: str | None = None  # paraphrases of one question


@dataclass(frozen=True, slots=True)
class Provenance:
    """The record that a sample came from: the file below the raw folder, and the record's key or number in it."""

    file: str
    record: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One record of a dataset, represented in full. `id` is `<source>/<record id>`, unique in the whole mix."""

    id: str
    source: str
    split: str  # as published
    task: Task
    modality: str  # pathology, radiology, microscopy, mixed, text
    licence: str  # SPDX id or the card's own word, of this record
    provenance: Provenance
    turns: tuple[Turn, ...]
    images: tuple[Image, ...] = ()
    groups: Groups = Groups()
    labels: tuple[str, ...] = ()  # classification only; empty for an all-zero multi-label row
    attributes: dict[str, str] = field(default_factory=dict)  # answer_type ("open" | "closed"), organ, plane, ...


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that can't be represented, written down with its reason."""

    id: str
    source: str
    split: str
    reason: Reason
    detail: str  # one line: which field, which file; never the record's text
    provenance: Provenance


_PROVENANCE = pa.struct([pa.field("file", pa.string(), False), pa.field("record", pa.string(), False)])
_TURN = pa.struct(
    [
        pa.field("question", pa.string(), False),
        pa.field("answer", pa.string(), False),
        pa.field("context", pa.string(), False),
        pa.field("options", pa.list_(pa.string()), False),
        pa.field("alternatives", pa.list_(pa.string()), False),
    ]
)
_IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])  # as `datasets.Image` stores it
_PICTURE = pa.struct(
    [
        pa.field("image_id", pa.string(), False),
        pa.field("sha256", pa.string(), False),  # of the published bytes, hex
        pa.field("pixels_sha256", pa.string(), False),  # of mode, size and decoded pixels as stored, hex
        pa.field("phash", pa.uint64(), False),  # 64-bit DCT perceptual hash
        pa.field("thumbnail", pa.binary(), False),  # 32 x 32 gray, row by row: 1024 bytes
        pa.field("width", pa.int32(), False),  # px, as stored
        pa.field("height", pa.int32(), False),
    ]
)
_GROUPS = pa.struct([pa.field(name, pa.string()) for name in ("patient", "study", "article", "case", "question")])
_ATTRIBUTE = pa.struct([pa.field("name", pa.string(), False), pa.field("value", pa.string(), False)])


def _value(dtype: str) -> dict[str, str]:
    return {"dtype": dtype, "_type": "Value"}


def _list(feature: object) -> dict[str, object]:
    return {"feature": feature, "_type": "List"}


def _features() -> str:
    """The schema in the words of Hugging Face `datasets`, so that `load_dataset("parquet")` shows the pictures."""
    value = _value("string")
    features = {
        **dict.fromkeys(("id", "source", "split", "role", "task", "modality", "licence"), value),
        "provenance": {"file": value, "record": value},
        "turns": _list(
            {
                "question": value,
                "answer": value,
                "context": value,
                "options": _list(value),
                "alternatives": _list(value),
            }
        ),
        "images": _list({"_type": "Image"}),
        "pictures": _list(
            {
                "image_id": value,
                "sha256": value,
                "pixels_sha256": value,
                "phash": _value("uint64"),
                "thumbnail": _value("binary"),
                "width": _value("int32"),
                "height": _value("int32"),
            }
        ),
        "groups": dict.fromkeys(_GROUPS.names, value),
        "labels": _list(value),
        "attributes": _list({"name": value, "value": value}),
    }
    return json.dumps({"info": {"features": features}})


SAMPLE_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), False) for name in ("id", "source", "split", "role", "task", "modality")),
        pa.field("licence", pa.string(), False),
        pa.field("provenance", _PROVENANCE, False),
        pa.field("turns", pa.list_(_TURN), False),
        pa.field("images", pa.list_(_IMAGE)),  # encoded; pictures[i] describes the i-th. `datasets` wants it nullable
        pa.field("pictures", pa.list_(_PICTURE), False),
        pa.field("groups", _GROUPS, False),
        pa.field("labels", pa.list_(pa.string()), False),
        pa.field("attributes", pa.list_(_ATTRIBUTE), False),
    ],
    metadata={"huggingface": _features()},
)

REJECTED_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), False) for name in ("id", "source", "split", "reason", "detail")),
        pa.field("provenance", _PROVENANCE, False),
    ]
)

VERDICT_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), False) for name in ("id", "kept_id", "reason")],
)

INDEX_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), False),
        pa.field("source", pa.string(), False),
        pa.field("shard", pa.string(), False),  # file name below data/samples/<source>/
        pa.field("row_group", pa.int32(), False),
        pa.field("row", pa.int32(), False),  # within the row group
        pa.field("split", pa.string(), False),
        pa.field("role", pa.string(), False),  # the role in force: the card's, or that of mix.roles
        pa.field("task", pa.string(), False),
        pa.field("licence", pa.string(), False),  # the row's
        pa.field("access", pa.string(), False),  # the card's: no new tokenizer learns words of credentialed sources
        pa.field("weight", pa.float32(), False),  # how often an epoch visits the row, relative to 1
    ]
)
