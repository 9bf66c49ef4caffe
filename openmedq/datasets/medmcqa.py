"""MedMCQA: questions of India's entrance exams for postgraduate medical studies, with four options (Pal et al., 2022).

Layouts read, each as it is or a folder further down:

1. Hugging Face, `openlifescienceai/medmcqa`: `data/{train,validation,test}-*.parquet` (one shard each; also without
   `data/`, or converted as `default/<split>/0000.parquet`), columns id, question, opa, opb, opc, opd, cop, choice_type,
   exp, subject_name, topic_name. Here cop, the correct option, counts from 0 and is -1 where it is withheld.
2. The original release, `{train,dev,test}.json`, unpacked or in its zip: the same fields, one object a line. Here cop
   counts from 1 and is absent from the test; `dev` is the validation split.

A split is read from the first layout where both are there; the other is named in the log. The layout says how cop
counts, and the file is held to it: a Parquet file with a cop of 4, or without a 0 though hundreds of rows have one, and
JSON lines with a cop of 0, are converted copies of the other layout. They are refused whole, because a shifted answer
looks as good as a right one. (A few converted rows alone can't be told from original ones.)

The test's answers are kept by the authors for their leaderboard: each of its rows is rejected as withheld, and the
field reports on the validation split, which therefore is one for evaluation and never trains. (The table of the
original release has the sizes of the two swapped; those of the card are of the files.)

What is odd in the published files, and in the miniature:

- cop counts from 0 in one layout and from 1 in the other.
- Questions of the choice type "multi" still have one correct option.
- Options of a question may be equal, the correct one too: the answer is a text, and a prompt calls the first by letter.
- An option may be empty (here; it is not known of the published files): then there is one less.
- The explanation is null or opens with the letter ("Ans. is 'b' i.e., ..."): it is an attribute, kept as it is.
- The topic is null in many rows.
- Words have lost their "rt" to a bad conversion ("hyperophy"): kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import Record, Unusable, keep, represent, take_optional_text, take_text
from openmedq.datasets.readers import warn_absent
from openmedq.datasets.readers.columnar import stream_parquet
from openmedq.datasets.readers.hub_shards import find_shards
from openmedq.datasets.readers.packed_lines import find_lines, represent_lines
from openmedq.errors import SourceError
from openmedq.schema import Provenance, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.origin import find_files

_HUB = "https://huggingface.co/datasets/openlifescienceai/medmcqa"
_COMMIT = "91c6572c454088bf71b679ad90aa8dffcd0d5868"
SHARD = "data/{}-00000-of-00001.parquet"

card = Card(
    id="medmcqa",
    title="MedMCQA",
    aliases=("openlifescienceai/medmcqa", "medmcqa/medmcqa"),
    homepage=_HUB,
    citation="Pal et al., MedMCQA: A Large-scale Multi-Subject Multi-Choice Dataset for Medical domain Question "
    "Answering, CHIL 2022",
    licence="Apache-2.0",
    access=Access.OPEN,
    task=Task.MULTIPLE_CHOICE,
    modality="text",
    files=tuple(
        File(
            path=SHARD.format(split),
            url=f"{_HUB}/resolve/{_COMMIT}/{SHARD.format(split)}",
            size_bytes=size_bytes,
            sha256=sha256,
        )
        for split, size_bytes, sha256 in (
            ("train", 85_899_025, "b119434ba551517a6ec0ba1f7e0b4c029165ed284a4704f262ce37c791c493c5"),
            ("validation", 1_476_104, "b768a1ea34afc9f80d3106d9b21f80fa8a00ec450a1f6cd641af72ca9e591021"),
            ("test", 936_358, "1d308841f0c82df363d3d638b33b69b8abd266b1e615ae5d2607dbb24c70beb1"),
        )
    ),
    # The test's answers are not published, so the validation split is what is reported on: it never trains.
    roles={"train": Role.TRAIN, "validation": Role.EVALUATION, "test": Role.EVALUATION},
    published_rows={"train": 182_822, "validation": 4_183, "test": 6_150},
)

_ADVICE = f"use the Parquet files of {_HUB}"
OPTIONS = ("opa", "opb", "opc", "opd")
COLUMNS = ("id", "question", *OPTIONS, "cop")
_LINES = {"train.json": "train", "dev.json": "validation", "test.json": "test"}
_NUM_TELLING = 200  # rows after which the absence of a first option is no chance

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions; SourceError where neither layout is there, a file is cut, or cop counts otherwise.

    Ids of 36 letters stay in memory, to tell repeated ones: 30 MB for the whole set.
    """
    files = [path for path, _ in find_files(raw)] if raw.is_dir() else []
    shards = find_shards(files, {split: split for split in card.roles})
    lines = find_lines(raw, lambda place: _LINES.get(place.name), with_zips=not shards)
    if not shards and not lines:
        raise SourceError(f"{raw}: no `{SHARD.format('train')}`; expected it there, as published at {card.homepage}")
    seen: dict[str, str] = {}
    for split in card.roles:
        for path in shards.get(split, []):
            yield from _read_shard(raw, path, split, seen)
        if split not in lines and split not in shards:
            warn_absent(card.id, SHARD.format(split), split)
        if split in lines and split in shards:
            _log.info("%s: not read: the Parquet file is there", lines[split])
        elif split in lines:
            yield from represent_lines(
                lines[split],
                source=card.id,
                split=split,
                raw=raw,
                identify=lambda _, record: take_text(record, "id"),
                build=_builder(str(lines[split]), first=1),
                seen=seen,
            )


def _read_shard(raw: Path, path: Path, split: str, seen: dict[str, str]) -> Iterator[Sample | Rejected]:
    _check_counting(path)
    rows = represent(
        stream_parquet(path, COLUMNS),
        source=card.id,
        unit="row",
        raw=raw,
        path=path,
        identify=lambda _, record: (take_text(record, "id"), split),
        build=_builder(str(path), first=0),
        seen=seen,
    )
    for row in rows:
        # A row without an id of its own has no split yet.
        yield replace(row, split=split) if isinstance(row, Rejected) else row


def _check_counting(path: Path) -> None:
    """SourceError where a Parquet file counts the correct option from 1. Nothing but that column is read."""
    try:
        column = pq.read_table(path, columns=["cop"])["cop"]
    except (pa.ArrowException, OSError, KeyError):
        return  # which is for the reader to tell
    if not pa.types.is_integer(column.type):
        raise SourceError(f"{path}: column `cop` is no whole number but {column.type}; {_ADVICE}")
    answered = column.filter(pc.fill_null(pc.greater_equal(column, 0), False))
    lowest, highest = pc.min_max(answered).as_py().values()
    if len(answered) and (highest > 3 or (lowest > 0 and len(answered) >= _NUM_TELLING)):
        raise SourceError(f"{path}: `cop` counts from 1, as the original JSON lines do; {_ADVICE}")


def _builder(file: str, first: int) -> Callable[[Record, str, str, Provenance], Sample]:
    """How a record of `file` becomes a sample; `first` is the cop of the first option."""

    def build(record: Record, sample_id: str, split: str, provenance: Provenance) -> Sample:
        question = take_text(record, "question", empty=Reason.QUESTION_EMPTY)
        options = [_take_option(record, name) for name in OPTIONS]
        answer = options[_take_place(record, split, file, first)]
        if not answer:
            raise Unusable(Reason.ANSWER_EMPTY, "the option that `cop` names is empty")
        return Sample(
            id=sample_id,
            source=card.id,
            split=split,
            task=card.task,
            modality=card.modality,
            licence=card.licence,
            provenance=provenance,
            turns=(Turn(question, answer, options=tuple(filter(None, options))),),
            attributes=keep(
                choice_type=take_optional_text(record, "choice_type"),
                explanation=take_optional_text(record, "exp"),
                subject_name=take_optional_text(record, "subject_name"),
                topic_name=take_optional_text(record, "topic_name"),
            ),
        )

    return build


def _take_option(record: Record, name: str) -> str:
    """The option's text; "" where it is null, NaN (of pandas) or empty."""
    value = record.get(name, ...)
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return ""
    return take_text(record, name, is_number_allowed=True)


def _take_place(record: Record, split: str, file: str, first: int) -> int:
    """The place of the correct option, from 0."""
    cop = take_optional_text(record, "cop").removesuffix(".0")  # pandas writes whole numbers so beside nulls
    if cop == "-1" or (not cop and split == "test"):
        raise Unusable(Reason.ANSWER_WITHHELD, "field `cop` is withheld")
    if cop == "0" and first == 1:
        raise SourceError(f"{file}: a `cop` is 0: it counts from 0, as the Parquet files do; {_ADVICE}")
    places = {str(first + place): place for place in range(len(OPTIONS))}
    if cop not in places:
        take_text(record, "cop", is_number_allowed=True)
        raise Unusable(Reason.ANSWER_NOT_AN_OPTION, f"field `cop` is none of {', '.join(places)}")
    return places[cop]
