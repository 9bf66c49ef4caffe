"""Dataclasses of `schema.py` to records of plain Python, as Arrow takes them, and back.

The converter of a type is built once from the annotations, so that no row is introspected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from enum import StrEnum
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any, get_args, get_origin

from openmedq.schema import EncodedImage, Image, Rejected, Sample, field_types

Record = dict[str, Any]  # a row of a table, or a struct in it
Convert = Callable[[Any], Any]


def to_record(item: Sample | Rejected) -> Record:
    """A row of SAMPLE_SCHEMA (of a sample whose images are encoded) or of REJECTED_SCHEMA."""
    return _writer_of(type(item))(item)  # type: ignore[arg-type]


def to_sample(record: Record) -> Sample:
    """The sample of a row; its images have no bytes if the column was not read."""
    return _reader_of(Sample)(record)  # type: ignore[no-any-return]


@cache
def _writer_of(cls: type) -> Callable[[Any], Record]:
    kinds = field_types(cls)
    names, get = tuple(kinds), attrgetter(*kinds)
    converters = [(name, each) for name, kind in kinds.items() if (each := _writer(kind))]

    def write(item: Any) -> Record:
        record = dict(zip(names, get(item), strict=True))
        for name, convert in converters:
            record[name] = convert(record[name])
        return record

    return write


def _writer(annotation: Any) -> Convert | None:
    """Converts values of the annotated type; None if Arrow takes them as they are."""
    if annotation is Image:
        return _write_image
    if is_dataclass(annotation):
        return _writer_of(annotation)  # type: ignore[arg-type]
    if get_origin(annotation) is tuple and (write := _writer(get_args(annotation)[0])):
        return lambda values: list(map(write, values))
    if get_origin(annotation) is dict:
        return lambda values: [{"name": name, "value": value} for name, value in sorted(values.items())]
    return None


def _write_image(image: EncodedImage) -> Record:
    record = _writer_of(EncodedImage)(image)
    return {"image": {"bytes": record.pop("data"), "path": record.pop("path")}, **record}


@cache
def _reader_of(cls: type) -> Convert:
    kinds = field_types(cls)
    get = itemgetter(*kinds)
    converters = [(place, each) for place, kind in enumerate(kinds.values()) if (each := _reader(kind))]

    def read(record: Record) -> Any:
        values = list(get(record))
        for place, convert in converters:
            values[place] = convert(values[place])
        return cls(*values)

    return read


def _reader(annotation: Any) -> Convert | None:
    """Converts what Arrow returns to the annotated type; None if it is of that type."""
    if annotation is Image:
        return lambda record: Image(record["image_id"], data=record.get("image", {}).get("bytes"))
    if is_dataclass(annotation):
        return _reader_of(annotation)  # type: ignore[arg-type]
    if get_origin(annotation) is tuple:
        read = _reader(get_args(annotation)[0])
        return (lambda values: tuple(map(read, values))) if read else tuple
    if get_origin(annotation) is dict:
        return lambda pairs: {pair["name"]: pair["value"] for pair in pairs}
    return annotation if isinstance(annotation, type) and issubclass(annotation, StrEnum) else None
