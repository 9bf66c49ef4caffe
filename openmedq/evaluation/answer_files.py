"""Files of answers, which any system may have written, and which record of a dataset each answer belongs to.

JSONL, CSV or Parquet with `answer` and `id`, or with `answer`, `question` and `image`.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openmedq.errors import SourceError
from openmedq.schema import Sample

ANSWER, ID, QUESTION, IMAGE = "answer", "id", "question", "image"


@dataclass
class Matched:
    """The answer to each record, and what could not be matched."""

    answers: dict[str, str] = field(default_factory=dict)  # id of the record -> answer
    duplicate: list[str] = field(default_factory=list)  # of these only the first answer counts
    unknown: list[str] = field(default_factory=list)  # names of rows of the file that no record has
    num_empty: int = 0


def read_answers(path: Path) -> list[dict[str, str]]:
    """The rows of a file, with the columns `answer` and `id`, or `answer`, `question` and `image`, as texts.

    A missing or null answer is "". SourceError if the file can't be read or has other columns.
    """
    readers = {".jsonl": _read_jsonl, ".json": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise SourceError(f"{path}: is not a .jsonl, .csv or .parquet file")
    rows = []
    for place, row in reader(path):
        names = (ID, ANSWER) if row.get(ID) is not None else (QUESTION, IMAGE, ANSWER)
        absent = [name for name in names if name not in row]
        if absent:
            raise SourceError(
                f"{path}, {place}: has no {' and no '.join(absent)}; expected {ANSWER} and {ID}, or {ANSWER}, "
                f"{QUESTION} and {IMAGE} (empty for a question without an image)"
            )
        rows.append({name: _to_text(row[name], f"{path}, {place}: {name}") for name in names})
    if not rows:
        raise SourceError(f"{path}: has no row")
    return rows


def read_contamination(path: Path) -> dict[str, str | None]:
    """Why a question is not clean, None if it is, by the ids in a file with the columns of clean.parquet."""
    columns = ("id", "reason")
    rows = [row for _, row in _read_parquet(path, columns)] if path.suffix.lower() == ".parquet" else []
    if not rows or any(name not in rows[0] for name in columns):
        raise SourceError(f"{path}: is not a .parquet file with rows of id and reason, as `deduplicate` writes it")
    return {str(row["id"]): row["reason"] for row in rows}


def match(rows: Iterable[Mapping[str, str]], samples: Mapping[str, Sample]) -> Matched:
    """Find the record of each row: by its id, with or without the dataset's name, or by question and image."""
    by_question: dict[tuple[str, str], deque[str]] = defaultdict(deque)
    for sample in samples.values():
        for name in {image.image_id for image in sample.images[:1]} or {""}:
            by_question[_key(sample.turns[-1].question, name)].append(sample.id)
    short = {name.partition("/")[2]: name for name in samples}
    found = Matched()
    times: Counter[tuple[str, str]] = Counter()
    for number, row in enumerate(rows, 1):
        if ID in row:
            record = row[ID] if row[ID] in samples else short.get(row[ID])
            name = row[ID]
        else:
            key = _key(row[QUESTION], row[IMAGE])
            same = by_question.get(key, ())  # a dataset may ask the same twice: answers count in the order of records
            record = same[min(times[key], len(same) - 1)] if same else None
            times[key] += 1
            name = f"row {number}"
        if record is None:
            found.unknown.append(name)
        elif record in found.answers:
            found.duplicate.append(name)
        else:
            found.answers[record] = row[ANSWER]
            found.num_empty += not row[ANSWER].strip()
    return found


def _key(question: str, image: str) -> tuple[str, str]:
    """Question and file name, without what systems change: white space, case, folder and suffix."""
    parts = Path(image.strip()).parts[-2:]  # such as xmlab1/source.jpg, where the folder names the image
    name = "/".join(parts) if parts and Path(parts[-1]).stem.lower() == "source" else (parts[-1] if parts else "")
    return " ".join(question.lower().split()), str(Path(name).with_suffix("")).lower() if name else ""


def _to_text(value: Any, place: str) -> str:
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, (dict, list, bytes)):
        raise SourceError(f"{place} is no text")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SourceError(f"{place} has half of a UTF-16 surrogate pair; write whole characters") from None
    return text


def _read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(_decode(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, list) or line.strip() == "[":
            raise SourceError(f"{path}: is a JSON list; write its objects without the brackets, one on each line")
        if not isinstance(row, dict):
            raise SourceError(f"{path}, line {number}: is no JSON object; expected one on each line")
        yield f"line {number}", row


def _read_csv(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(_decode(path), newline=""), strict=True)
    try:
        names = reader.fieldnames or []
        if names and ANSWER not in names:
            raise SourceError(f"{path}, line 1: has no {ANSWER}; it must name the columns, separated by commas")
        if twice := [name for name in (ID, QUESTION, IMAGE, ANSWER) if names.count(name) > 1]:
            raise SourceError(f"{path}, line 1: has {twice[0]} twice; remove a column")
        for row in reader:
            if None in row:
                raise SourceError(f"{path}, line {reader.line_num}: has more cells than the first line")
            yield f"line {reader.line_num}", row
    except csv.Error as error:
        raise SourceError(f"{path}, line {reader.line_num}: is not valid CSV ({error})") from None


def _read_parquet(
    path: Path, columns: Sequence[str] = (ID, QUESTION, IMAGE, ANSWER)
) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open("rb") as opened:
        try:
            file = pq.ParquetFile(opened)
            names = [name for name in columns if name in file.schema_arrow.names]
            rows = file.read(columns=names).to_pylist()
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())[:160]
            raise SourceError(f"{path}: is not a complete Parquet file ({reason})") from None
    yield from ((f"row {number}", row) for number, row in enumerate(rows, 1))


def _decode(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte order mark; text with NUL is of another encoding."""
    data = path.read_bytes()
    encoding, name = ("utf-16", "UTF-16") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "UTF-8")
    try:
        text = data.decode(encoding)
        place = text.find("\0")
        line = text.count("\n", 0, place) + 1
    except UnicodeDecodeError as error:
        place = error.start
        line = data.count(b"\n", 0, place) + 1
    if place >= 0:
        raise SourceError(f"{path}, line {line}: is not {name}; save it as UTF-8")
    return text
