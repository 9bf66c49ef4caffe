"""Shared by all readers: convert published records to `Sample`s, or to `Rejected` rows with a reason.

A reader defines the id and the content of a record. `represent` rejects single bad records and repeated ids, and raises
SourceError if the whole file has another layout.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from openmedq.datasets.card import Card
from openmedq.errors import ArchiveError, SourceError
from openmedq.schema import Image, Provenance, Reason, Rejected, Sample
from openmedq.storage import unexpected
from openmedq.storage.lookup import ImageLookup
from openmedq.storage.texts import decode_text

NO_VALUES = ("nan", "NaN", "<NA>")  # pandas writes them for empty fields that were converted to texts

Record = Mapping[str, Any]
Content = dict[str, Any]  # fields of a Sample: turns, images, attributes ...


class Unusable(Exception):  # noqa: N818 readers convert it to a Rejected row
    """A record cannot be represented. `detail` is one line that does not quote the record's text."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def take_text(
    record: Record, name: str, *, empty: Reason = Reason.FIELD_MISSING, is_number_allowed: bool = False
) -> str:
    """Return a text field, stripped; Unusable if it is absent, not a text, or empty (with the reason `empty`)."""
    if name not in record:
        raise Unusable(Reason.FIELD_MISSING, f"no field `{name}`")
    text = _to_text(record[name], name)
    if text is None or not (is_number_allowed or isinstance(record[name], str)):
        raise Unusable(Reason.FIELD_MISSING, f"field `{name}` is not a text")
    if not text:
        raise Unusable(empty, f"field `{name}` is empty")
    return text


def take_optional_text(record: Record, name: str) -> str:
    """Return a text or number field as text; "" if it is absent, of another type, or NULL."""
    text = _to_text(record.get(name), name) or ""
    return "" if text == "NULL" else text


def take_texts(record: Record, name: str) -> list[str]:
    """Return a field that is a list of texts; Unusable if it is anything else."""
    if name not in record:
        raise Unusable(Reason.FIELD_MISSING, f"no field `{name}`")
    values = record[name]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Unusable(Reason.FIELD_MISSING, f"field `{name}` is not a list of texts")
    return [_to_text(value, name) or "" for value in values]


def take_optional_texts(record: Record, name: str) -> list[str]:
    """Return a field that is a list of texts; empty if it is not a list."""
    return take_texts(record, name) if isinstance(record.get(name), list) else []


def decode_file(data: bytes, what: str) -> str:
    """Return the text of a record's own file; Unusable if it is not UTF-8, or not the published file."""
    if found := unexpected.describe(data):
        raise Unusable(Reason.FIELD_MISSING, f"{what} is {found[0]}; {found[1]}")
    text = decode_text(data)
    if any("\udc00" <= character <= "\udfff" for character in text):
        raise Unusable(Reason.NOT_UTF8, f"{what} is not UTF-8")
    return text


def find_image(images: ImageLookup, *names: str) -> Image:
    """Return the first image with one of these names; Unusable if there is none."""
    image = next(filter(None, map(images.find, names)), None)
    if image is None:
        raise Unusable(Reason.IMAGE_MISSING, f"no file {' or '.join(names)} {images.where}")
    return image


def keep(**attributes: str) -> dict[str, str]:
    """Drop empty attributes."""
    return {name: value for name, value in attributes.items() if value}


def join_texts(texts: Iterable[str]) -> str:
    """Join the texts that are not empty with semicolons."""
    return "; ".join(filter(None, map(str.strip, texts)))


def represent(
    card: Card,
    records: Iterable[tuple[str | Provenance, Any]],
    *,
    raw: Path,
    path: Path,
    identify: Callable[[str, Record], tuple[str, str]],
    build: Callable[[Record, str], Content],
    unit: str = "record",
    seen: dict[str, str] | None = None,
    is_keyed: bool = False,
) -> Iterator[Sample | Rejected]:
    """Yield one sample or rejected row for each record of the file at `path`.

    If an id occurred in another split before, the split is prepended: `test-17`. A repeated id within one split is
    rejected.

    Args:
        card: Card of the dataset.
        records: Pairs of key (or number in the file) and record. A key that is a `Provenance` is the record's own, for
            records from several files.
        raw: Folder that provenance paths are relative to.
        path: The file, below `raw`.
        identify: Maps key and record to the record's id and split.
        build: Maps record and split to the content of the sample; task, modality and licence may be the card's.
        unit: What the key counts, for the provenance: "line", "PubMed id".
        seen: Split by id, for all ids so far; updated. None if ids cannot repeat.
        is_keyed: `identify` needs only the key, so that a record that was not parsed gets its id too.

    Raises:
        SourceError: The file has no record, or all records lack the same field.
    """
    file = path.relative_to(raw).as_posix()
    defaults: Content = {"task": card.task, "modality": card.modality, "licence": card.licence}
    num_records = num_objects = 0
    missing: set[str] = set()
    is_any_other = False
    for key, record in records:
        num_records += 1
        provenance = key if isinstance(key, Provenance) else Provenance(file, f"{unit} {to_line(key)}")
        key = key.record if isinstance(key, Provenance) else key
        record_id, split = identify(key, {}) if is_keyed else (f"{file}-{num_records}", "")
        sample_id = f"{card.id}/{record_id}"
        try:
            if isinstance(record, Unusable):
                raise record
            if not isinstance(record, dict):
                raise Unusable(Reason.FIELD_MISSING, "the record is not an object")
            num_objects += 1
            record_id, split = identify(key, record)
            if seen is not None:
                if seen.get(record_id, split) != split:
                    record_id = f"{split}-{record_id}"
                if record_id in seen:
                    raise Unusable(Reason.ID_REPEATED, f"an earlier record has the id {record_id} too")
                seen[record_id] = split
            sample_id = f"{card.id}/{record_id}"
            sample = Sample(sample_id, card.id, split, provenance=provenance, **(defaults | build(record, split)))
        except (Unusable, ArchiveError) as problem:
            reason = problem.reason if isinstance(problem, Unusable) else Reason.IMAGE_UNREADABLE
            yield Rejected(sample_id, card.id, split, reason, to_line(str(problem)), provenance)
            if reason is Reason.FIELD_MISSING:
                missing.add(str(problem))
            elif reason is not Reason.FILE_TRUNCATED:
                is_any_other = True
        else:
            is_any_other = True
            yield sample
    layout, advice = "not the published layout", "get the file again"
    if card.local is not None:
        layout, advice = "not as declared", f"correct local.{card.id} in params.yaml, or the file"
    if num_records == 0:
        raise SourceError(f"{path}: {layout}: it contains no record; {advice}")
    if not is_any_other and len(missing) == 1 and (num_records > 1 or num_objects == 0):
        raise SourceError(f"{path}: {layout}: {missing.pop()}, in all of its {num_records} records; {advice}")
    if num_objects == 0:
        raise SourceError(f"{path}: {layout}: none of its {num_records} records is an object; {advice}")


def list_absent(
    card: Card,
    names: Iterable[str],
    *,
    split: str,
    raw: Path,
    path: Path,
    unit: str = "record",
    sibling: str = "",
) -> Iterator[Rejected]:
    """Yield a rejected row for each record that a sibling file names and the split's own file lacks.

    `sibling` is the sibling's name if it is not the name of `path` (a member of an archive).
    """
    file = path.relative_to(raw).as_posix()
    detail = f"listed in {sibling or path.name}, but absent from the file of the split's records; get that file again"
    for name in map(to_line, names):
        provenance = Provenance(file, f"{unit} {name}")
        yield Rejected(f"{card.id}/{name}", card.id, split, Reason.RECORD_ABSENT, detail, provenance)


def to_line(text: str) -> str:
    """Collapse white space and replace what UTF-8 cannot encode, to at most 200 characters in one line."""
    return " ".join(text.encode("utf-8", "replace").decode().split())[:200]


def _to_text(value: Any, name: str) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()  # 3.0: 3 beside a null
    if text in NO_VALUES:
        return ""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unusable(Reason.NOT_UTF8, f"field `{name}` is not UTF-8") from None
    return text
