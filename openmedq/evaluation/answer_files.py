"""Files of answers, which any system may have written, and which record of a dataset each answer belongs to.

JSON lines, CSV, TSV or Parquet with `answer` and `id`, or with `answer`, `question` and `image`. The names of
other tools are read too: `question_id` for the id; `prediction`, `pred`, `response` or `text`, for example, for the
answer. Beside a prediction, `answer` is the reference.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from openmedq.datasets.fields import Unusable
from openmedq.datasets.readers.columnar import stream_parquet
from openmedq.datasets.readers.json_stream import stream_lines
from openmedq.datasets.readers.tables import find_delimiter, stream_table
from openmedq.errors import SourceError
from openmedq.schema import Sample

ANSWER, ID, QUESTION, IMAGE = "answer", "id", "question", "image"
IDS = (ID, "question_id")  # in the order of preference, and so are these
ANSWERS = ("prediction", "pred", "predicted_answer", "pred_answer", "model_answer", "response", ANSWER, "text")
_COLUMNS = {*IDS, *ANSWERS, QUESTION, IMAGE}  # those that are kept in memory

Names = tuple[str, ...]

_SUFFIX = re.compile(r"\.[a-z]\w{1,4}$")  # not the last number of a DICOM UID


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
    rows: list[dict[str, str]] = []
    read = [(place, {name: row[name] for name in _COLUMNS & row.keys()}) for place, row in _stream(path)]
    # One column for all rows: in a row that lacks it, another one may be the reference.
    answer = next((name for name in ANSWERS if any(name in row for _, row in read)), ANSWER)
    for place, row in read:
        own_id = next((name for name in IDS if row.get(name) not in (None, "")), None)
        columns = {ID: own_id} if own_id else {QUESTION: QUESTION, IMAGE: IMAGE}
        columns[ANSWER] = answer
        if absent := [name for name in columns.values() if name not in row]:
            raise SourceError(
                f"{place}: has no {' and no '.join(absent)}; expected {ANSWER} and {ID}, or {ANSWER}, "
                f"{QUESTION} and {IMAGE} (empty for a question without an image)"
            )
        rows.append({key: _to_text(row[name], f"{place}: {name}") for key, name in columns.items()})
    if not rows:
        raise SourceError(f"{path}: has no row")
    return rows


def match(rows: Iterable[Mapping[str, str]], samples: Mapping[str, Sample]) -> Matched:
    """Find the record of each row: by its id, with or without the dataset's name, or by question and image.

    A row may name more or fewer folders of its image than the record. One that fits several images has no record.
    """
    by_question: dict[tuple[str, Names], dict[Names, list[str]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples.values():
        question, image = _key(sample.turns[-1].question, sample.images[0].image_id if sample.images else "")
        by_question[question, image[:1]][image].append(sample.id)
    known = {name.partition("/")[2]: name for name in samples} | {name: name for name in samples}
    found = Matched()
    times: Counter[tuple[str, Names]] = Counter()
    for number, row in enumerate(rows, 1):
        if ID in row:
            name = row[ID].strip()
            record = known.get(name) or known.get(name.removesuffix(".0"))  # as pandas writes 3 to a CSV
        else:
            question, image = _key(row[QUESTION], row[IMAGE])
            ids = by_question.get((question, image[:1]), {})
            # One path is the end of the other: the names of files and folders are in reverse.
            fits = [each for each in ids if all(a == b for a, b in zip(each, image, strict=False))]
            best = [each for each in fits if len(each) == len(image)] or fits
            record = None
            if len(best) == 1:  # a dataset may ask the same twice: answers count in the order of records
                same, key = ids[best[0]], (question, best[0])
                record = same[min(times[key], len(same) - 1)]
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


def _key(question: str, image: str) -> tuple[str, Names]:
    """Question and image without what systems change: white space, case, suffix. The name of the file goes first."""
    path = _SUFFIX.sub("", image.strip().replace("\\", "/").lower())
    return " ".join(question.lower().split()), tuple(reversed(PurePosixPath(path).parts))


def _stream(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the rows of a file, each with its place; SourceError at the first row that can't be read."""
    kind, unit = Path(path.name.lower().removesuffix(".gz")).suffix, "line"
    rows: Iterator[tuple[str, Any]]
    if kind == ".jsonl":
        rows = stream_lines(path)
    elif kind in (".csv", ".tsv"):
        rows = stream_table(path, (), find_delimiter(path, (*IDS, *ANSWERS))[0])
    elif path.suffix.lower() == ".parquet":
        rows, unit = stream_parquet(path, ()), "row"
    else:
        raise SourceError(f"{path}: is not a .jsonl, .csv, .tsv or .parquet file; convert it")
    for number, row in rows:
        place = f"{path}, {unit} {number}"
        if isinstance(row, Unusable):
            raise SourceError(f"{place}: {row.detail}")
        if not isinstance(row, Mapping):
            raise SourceError(f"{place}: is not a JSON object; expected one on each line")
        yield place, row


def _to_text(value: Any, place: str) -> str:
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, (bool, dict, list, bytes)):
        raise SourceError(f"{place} is not a text or number; correct it")
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value)  # 3.0: pandas with a null
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates: the readers' sign of an invalid byte
        raise SourceError(f"{place} is not UTF-8; save the file as UTF-8") from None
    return text
