"""Figures of articles with their captions: a list of ids and captions, images by name, and further files beside it."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from openmedq.datasets.card import Card
from openmedq.datasets.fields import Content, Record, Unusable, find_image, represent, take_text
from openmedq.datasets.readers.tables import stream_lines
from openmedq.schema import Groups, Reason, Rejected, Sample, Turn
from openmedq.storage.lookup import ImageLookup

_ID = re.compile(r"[\w.-]+", re.ASCII)
_LIKE_ID = re.compile(r"\s*\S*_\d+\s*")  # the id of a record whose prefix is damaged


class Described(NamedTuple):
    """What the files beside a list of captions state about one of its records."""

    names: tuple[str, ...]  # possible names of its image; the first is the dataset's own
    licence: str
    article: str  # PMC id; "" if unknown
    attributes: dict[str, str]


def stream_captions(path: Path, prefix: str) -> Iterator[tuple[str, dict[str, str] | Unusable]]:
    """Yield records (`id`, `caption`) from lines of id, tab and caption, each with the number of its first line.

    A line without an id (the `prefix`, or `_<number>` before a tab) continues the caption above. All published files
    end with a line end; without it, the last record is cut.
    """
    first, record, is_cut = "", None, False
    for number, line in stream_lines(path, with_ends=True):
        text = line.rstrip("\r\n")
        is_cut = text == line
        record_id, tab, caption = text.partition("\t")
        is_record = record_id.startswith(prefix) or (tab and _LIKE_ID.fullmatch(record_id))
        if record and not is_record and not (is_cut and prefix.startswith(text)):
            record["caption"] += f"\n{text}"
            continue
        if record:
            yield first, record
        first, record = number, {"id": record_id, "caption": caption} if tab else None
        if not (record or is_cut):
            yield number, Unusable(Reason.FIELD_MISSING, "the line is not id, tab and caption")
    if is_cut:
        yield first, Unusable(Reason.FILE_TRUNCATED, "the file ends within the record; get it again")
    elif record:
        yield first, record


def read_captions(
    card: Card,
    records: Iterable[tuple[str, Any]],
    *,
    split: str,
    modality: str,
    raw: Path,
    path: Path,
    images: ImageLookup,
    describe: Callable[[str], Described],
    seen: dict[str, str],
) -> Iterator[Sample | Rejected]:
    """Represent the records (`id`, `caption`) of the list at `path`; `describe` is called with each id."""

    def identify(_: str, record: Record) -> tuple[str, str]:
        record_id = take_text(record, "id")
        if not _ID.fullmatch(record_id):
            raise Unusable(Reason.FIELD_MISSING, "field `id` is not an id")
        return record_id, split

    def build(record: Record, _: str) -> Content:
        described = describe(take_text(record, "id"))
        caption = take_text(record, "caption", empty=Reason.ANSWER_EMPTY)
        image = find_image(images, *described.names)
        return {
            "modality": modality,
            "licence": described.licence,
            "turns": (Turn("", caption),),
            "images": (replace(image, image_id=described.names[0]),),
            "groups": Groups(article=described.article or None),
            "attributes": described.attributes,
        }

    return represent(card, records, raw=raw, path=path, identify=identify, build=build, unit="line", seen=seen)
