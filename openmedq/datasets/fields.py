"""From a published record to a `Sample`, or to a `Rejected` with its reason: what all readers do alike.

A reader says how a record is called and what it means; `represent` counts, refuses repeated ids, and tells a few bad
records (rejected, one by one) from a file in another layout (SourceError).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from openmedq.errors import ArchiveError, SourceError
from openmedq.schema import Provenance, Reason, Rejected, Sample

Record = Mapping[str, Any]


class Unusable(Exception):  # noqa: N818 it never leaves a reader: it becomes a Rejected
    """A record can't be represented: why, and one line of detail that does not repeat the record's text."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def take_text(
    record: Record, name: str, *, empty: Reason = Reason.FIELD_MISSING, is_number_allowed: bool = False
) -> str:
    """A field's text without surrounding space; Unusable where it is absent, no text, or empty (for that, `empty`)."""
    if name not in record:
        raise Unusable(Reason.FIELD_MISSING, f"no field `{name}`")
    text = _to_text(record[name], name)
    if text is None or not (is_number_allowed or isinstance(record[name], str)):
        raise Unusable(Reason.FIELD_MISSING, f"field `{name}` is no text")
    if not text:
        raise Unusable(empty, f"field `{name}` is empty")
    return text


def take_optional_text(record: Record, name: str) -> str:
    """A field's text or number as text; "" where it is absent, anything else, or says NULL."""
    text = _to_text(record.get(name), name) or ""
    return "" if text == "NULL" else text


def take_texts(record: Record, name: str) -> list[str]:
    """A field that is a list of texts; Unusable where it is anything else."""
    if name not in record:
        raise Unusable(Reason.FIELD_MISSING, f"no field `{name}`")
    values = record[name]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Unusable(Reason.FIELD_MISSING, f"field `{name}` is no list of texts")
    return [_to_text(value, name) or "" for value in values]


def keep(**attributes: str) -> dict[str, str]:
    """Attributes without the empty ones."""
    return {name: value for name, value in attributes.items() if value}


def represent(
    records: Iterable[tuple[str, Any]],
    *,
    source: str,
    unit: str,
    raw: Path,
    path: Path,
    identify: Callable[[str, Record], tuple[str, str]],
    build: Callable[[Record, str, str, Provenance], Sample],
    seen: dict[str, str] | None,
) -> Iterator[Sample | Rejected]:
    """Turn the records of the file at `path`, below `raw`, into samples and rejections, one for one.

    Where ids restart in each split's file, one that an earlier split has gets its split in front: `test-17`. In one
    split an id stands for one record, and a second one is rejected.

    Args:
        records: each record with its key or number in the file.
        source: id of the set.
        unit: what a key stands for, for the provenance: "line", "PubMed id".
        raw: the folder that provenance is told from.
        path: of the file.
        identify: from key and record to the record's id and split.
        build: from record, id, split and provenance to the sample.
        seen: ids met so far with the split of each, added to; None where the ids can't repeat.

    Raises:
        SourceError: no record at all, or all of them lack the same field: the file has another layout.
    """
    file = path.relative_to(raw).as_posix()
    num_records = num_objects = 0
    missing: set[str] = set()
    is_any_other = False
    for key, record in records:
        num_records += 1
        sample_id, split = f"{source}/{file}-{num_records}", ""
        provenance = Provenance(file, f"{unit} {to_line(key)}")
        try:
            if isinstance(record, Unusable):
                raise record
            if not isinstance(record, dict):
                raise Unusable(Reason.FIELD_MISSING, "the record is no object of fields")
            num_objects += 1
            record_id, split = identify(key, record)
            if seen is not None:
                if seen.get(record_id, split) != split:
                    record_id = f"{split}-{record_id}"
                if record_id in seen:
                    raise Unusable(Reason.ID_REPEATED, f"{record_id} stands for an earlier record too")
                seen[record_id] = split
            sample_id = f"{source}/{record_id}"
            sample = build(record, sample_id, split, provenance)
        except (Unusable, ArchiveError) as problem:
            reason = problem.reason if isinstance(problem, Unusable) else Reason.IMAGE_UNREADABLE
            yield Rejected(sample_id, source, split, reason, to_line(str(problem)), provenance)
            if reason is Reason.FIELD_MISSING:
                missing.add(str(problem))
            elif reason is not Reason.FILE_TRUNCATED:
                is_any_other = True
        else:
            is_any_other = True
            yield sample
    if num_records == 0:
        raise SourceError(f"{path}: not the published layout: it holds no record; get the file again")
    if not is_any_other and len(missing) == 1 and (num_records > 1 or num_objects == 0):
        raise SourceError(f"{path}: not the published layout: {missing.pop()}, in all of its {num_records} records")
    if num_objects == 0:
        found = f"none of its {num_records} records is an object of fields"
        raise SourceError(f"{path}: not the published layout: {found}; get the file again")


def list_absent(
    names: Iterable[str],
    *,
    source: str,
    split: str,
    raw: Path,
    path: Path,
    unit: str = "record",
    sibling: str = "",
    num_other: int = 0,
) -> Iterator[Rejected]:
    """A rejection for each record that a sibling file names and the file of the split's records does not have.

    `sibling` is the sibling's name where it is not that of `path`, as in an archive. `num_other` records of the split
    have names that the sibling does not have, as damaged ones: as many names are taken to be theirs.
    """
    file = path.relative_to(raw).as_posix()
    for name in map(to_line, islice(names, num_other, None)):
        detail = f"{sibling or path.name} has it, the file of the split's records has not; get that file again"
        yield Rejected(
            f"{source}/{name}", source, split, Reason.RECORD_ABSENT, detail, Provenance(file, f"{unit} {name}")
        )


def to_line(text: str) -> str:
    """Text that fits in one line and in UTF-8, whatever it was."""
    return " ".join(text.encode("utf-8", "replace").decode().split())[:200]


def _to_text(value: Any, name: str) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    text = str(value).strip()
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unusable(Reason.NOT_UTF8, f"field `{name}` is not UTF-8") from None
    return text
