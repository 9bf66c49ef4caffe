"""Samples, declared once as dataclasses; the Arrow schema of `data/samples` and Hugging Face features follow from them.

The rows are plain dataclasses: pydantic, which validates the settings, would cost ten times as much per row.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pyarrow as pa


class Task(StrEnum):
    """The kind of a sample; selects the prompt."""

    VQA = "vqa"  # a question about images, with a free or a closed answer
    MULTIPLE_CHOICE = "multiple_choice"  # a question with options, with or without images
    CAPTION = "caption"  # describe the image
    REPORT = "report"  # write a section of a study's report
    TEXT_QA = "text_qa"  # a question without images, with or without context
    CLASSIFICATION = "classification"  # name the classes of the image


class Role(StrEnum):
    """What a row may be used for. `EVALUATION` rows are never trained on."""

    TRAIN = "train"
    VALIDATION = "validation"
    EVALUATION = "evaluation"


class Reason(StrEnum):
    """Why a record is rejected: it cannot be represented, or it is excluded by request.

    Low quality is not a reason; `validate` checks quality.
    """

    FIELD_MISSING = "field missing"  # a documented field is absent or has the wrong type
    QUESTION_EMPTY = "question empty"
    ANSWER_EMPTY = "answer empty"
    ANSWER_NOT_AN_OPTION = "answer not an option"
    ANSWER_WITHHELD = "answer withheld"  # by the publisher, as for the hidden test of a challenge
    ID_REPEATED = "id repeated"
    NOT_UTF8 = "not UTF-8"
    FILE_TRUNCATED = "file truncated"  # the file ends within the record
    RECORD_ABSENT = "record absent"  # another file names the record, but its own file does not contain it
    IMAGE_MISSING = "image missing"  # the annotation names the image, but no such file exists
    IMAGE_UNREADABLE = "image unreadable"  # truncated, corrupt, or not an image
    IMAGE_UNEXPECTED = "Git LFS pointer or web page instead of image"  # the detail names which, and the remedy
    IMAGE_TOO_LARGE = "image too large"  # more pixels than `normalize.max_pixels`
    FORGOTTEN = "forgotten"  # by `python -m openmedq forget ID`
    LANGUAGE_EXCLUDED = "language excluded"  # by `normalize.languages`


class BrokenImage(ValueError):  # noqa: N818 it ends no run: the image's row is rejected
    """Bytes that cannot be decoded, with the reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


EXCLUDED_BY_REQUEST = (Reason.ANSWER_WITHHELD, Reason.FORGOTTEN, Reason.LANGUAGE_EXCLUDED)  # not faults of the data


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a sample: a file at `path`, or bytes in `data`.

    `image_id` is the dataset's own name for the image, the same for every sample that shows it.
    """

    image_id: str
    path: Path | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage(Image):
    """An image as it is stored, with its fingerprints."""

    data: bytes  # JPEG or PNG, 8-bit L or RGB
    sha256: str  # of the published bytes, hex
    pixels_sha256: str  # of mode, size and pixels as `data` decodes, hex
    phash: Annotated[int, pa.uint64()]  # 64-bit DCT perceptual hash
    thumbnail: bytes  # 32 x 32 gray, row by row: 1024 bytes
    width: Annotated[int, pa.int32()]  # px
    height: Annotated[int, pa.int32()]  # px


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer, as published; `model/prompt.py` adds the wording."""

    question: str  # "" where the task is the question (caption, report, classification)
    answer: str
    context: str = ""  # text that belongs to the question
    options: tuple[str, ...] = ()  # in published order; `answer` equals one of them
    alternatives: tuple[str, ...] = ()  # other accepted answers, used only for scoring


@dataclass(frozen=True, slots=True)
class Groups:
    """Keys of groups that must not be split between training and evaluation; None where the dataset has no such key."""

    patient: str | None = None
    study: str | None = None
    article: str | None = None  # PMC id
    case: str | None = None  # teaching-file case
    question: str | None = None  # paraphrases of one question


@dataclass(frozen=True, slots=True)
class Provenance:
    """The published record of a sample: the file below the raw folder, and the record's key or number in it."""

    file: str
    record: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One record of a dataset. `id` is `<source>/<record id>`, unique over all datasets."""

    id: str
    source: str
    split: str  # as published
    task: Task
    modality: str  # pathology, radiology, microscopy, mixed, text
    licence: str  # of this record: an SPDX id, or the card's own words
    provenance: Provenance
    turns: tuple[Turn, ...]
    images: tuple[Image, ...] = ()  # EncodedImage once `normalize` has encoded them
    groups: Groups = Groups()
    labels: tuple[str, ...] = ()  # classification only; empty for a multi-label row without a positive class
    attributes: dict[str, str] = field(default_factory=dict)  # answer_type ("open" | "closed"), organ, plane, ...


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is not a sample, with the reason."""

    id: str
    source: str
    split: str
    reason: Reason
    detail: str  # one line: which field, which file; never the record's text
    provenance: Provenance


_ARROW_TYPES = {str: pa.string(), bytes: pa.binary()}
IMAGE_FILE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])  # as `datasets.Image` stores it


def field_types(cls: type) -> dict[str, Any]:
    """The annotation of each field of a dataclass, in order."""
    hints = get_type_hints(cls, include_extras=True)
    return {each.name: hints[each.name] for each in fields(cls)}


def _arrow_fields(cls: type) -> Iterator[pa.Field]:
    """The Arrow fields of a dataclass. An image is stored encoded, its bytes and path as a struct `image`."""
    is_image = cls is Image
    if is_image:
        yield pa.field("image", IMAGE_FILE)
        cls = EncodedImage
    for name, annotation in field_types(cls).items():
        if is_image and name in ("path", "data"):
            continue
        # `datasets` decodes images only in a column of exactly its own type, in which everything is nullable.
        is_nullable = is_image or annotation == tuple[Image, ...] or get_origin(annotation) is UnionType
        yield pa.field(name, _arrow_type(annotation), is_nullable)


def _arrow_type(annotation: Any) -> pa.DataType:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return arguments[1]
    if origin in (tuple, UnionType):  # tuple[X, ...] or X | None
        inner = _arrow_type(arguments[0])
        return pa.list_(inner) if origin is tuple else inner
    if origin is dict:
        return pa.list_(pa.struct([pa.field(name, pa.string(), False) for name in ("name", "value")]))
    if is_dataclass(annotation):
        return pa.struct(list(_arrow_fields(annotation)))  # type: ignore[arg-type]
    return pa.string() if issubclass(annotation, StrEnum) else _ARROW_TYPES[annotation]


def _feature(kind: pa.DataType) -> Mapping[str, Any]:
    """An Arrow type as a feature of Hugging Face `datasets`, so that `load_dataset("parquet")` decodes the images."""
    if kind == IMAGE_FILE:
        return {"_type": "Image"}
    if pa.types.is_struct(kind):
        return {each.name: _feature(each.type) for each in kind}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    return {"dtype": str(kind), "_type": "Value"}


def with_features(schema: pa.Schema) -> pa.Schema:
    """Add the features of Hugging Face `datasets` to a schema."""
    features = {each.name: _feature(each.type) for each in schema}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


SAMPLE_SCHEMA = with_features(pa.schema(list(_arrow_fields(Sample))))

REJECTED_SCHEMA = pa.schema(list(_arrow_fields(Rejected)))

VERDICT_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), False) for name in ("id", "kept_id", "reason")),
        pa.field("tier", pa.string(), False),  # what the two rows share
        pa.field("evidence", pa.float32()),  # how alike that is, 0 to 1; null where it is equal
    ]
)

CLEAN_SCHEMA = pa.schema([pa.field("id", pa.string(), False), pa.field("reason", pa.string())])

INDEX_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), False),
        pa.field("source", pa.string(), False),
        pa.field("shard", pa.string(), False),  # file name below data/samples/<source>/
        pa.field("row_group", pa.int32(), False),
        pa.field("row", pa.int32(), False),  # within the row group
        pa.field("split", pa.string(), False),
        pa.field("role", pa.string(), False),  # the card's, or that of mix.roles
        pa.field("task", pa.string(), False),
        pa.field("licence", pa.string(), False),  # the row's
        pa.field("access", pa.string(), False),  # the card's; the tokenizer is not trained on credentialed datasets
        pa.field("weight", pa.float32(), False),  # relative frequency of the row in an epoch
        pa.field("num_images", pa.int16(), False),
        pa.field("num_chars", pa.int32(), False),  # of all texts; `estimate` counts tokens from it
    ]
)
