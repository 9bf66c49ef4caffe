"""Figures of articles with their captions: a list of ids and captions, images by name, and further files beside it."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from openmedq.datasets.card import Card
from openmedq.datasets.fields import Content, Record, Unusable, find_image, represent, take_text
from openmedq.datasets.readers.tables import Row, stream_lines, stream_table
from openmedq.errors import SourceError
from openmedq.schema import Groups, Reason, Rejected, Sample, Turn
from openmedq.storage.lookup import ImageLookup

_ID = re.compile(r"[\w.-]+", re.ASCII)
_LIKE_ID = re.compile(r"\s*\S*_\d+\s*")  # the id of a record whose prefix is damaged

_log = logging.getLogger(__name__)


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


# Files beside the list; of rows with one id, the first counts ---------------------------------------------------------


def lines_beside(path: Path) -> dict[str, str]:
    """Read lines of key, tab and text by key; empty if there is no such file.

    Lines without a tab are skipped. SourceError if the first line has none or the file is empty.
    """
    found: dict[str, str] = {}
    for _, line in stream_lines(path) if path.is_file() else ():
        key, tab, rest = line.partition("\t")
        if tab:
            found.setdefault(key.strip(), rest)
        elif not found:
            break
    if not found and path.is_file():
        raise SourceError(f"{path}: not the published layout: no line of an id, a tab and a text; get the file again")
    return found


def table_beside(path: Path, key: str, *needed: str) -> dict[str, Row]:
    """Read the rows of a CSV by the column `key`; empty if there is no such file.

    Rows whose length differs from the header are skipped. SourceError if a column is missing.
    """
    found: dict[str, Row] = {}
    for _, row in stream_table(path, (key, *needed)) if path.is_file() else ():
        if isinstance(row, Unusable):
            if row.reason is Reason.FILE_TRUNCATED:
                _log.warning("%s: %s", path, row.detail)
        else:
            found.setdefault(row[key].strip(), row)
    return found
