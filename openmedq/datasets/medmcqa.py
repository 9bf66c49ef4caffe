"""MedMCQA: questions of India's entrance exams for postgraduate medical studies, with four options (Pal et al., 2022).

Two layouts are read, in the raw folder or deeper:

1. Hugging Face (https://huggingface.co/datasets/openlifescienceai/medmcqa): `data/{train,validation,test}-*.parquet`
   (also without `data/`, or converted as `default/<split>/0000.parquet`), columns id, question, opa, opb, opc, opd,
   cop, choice_type, exp, subject_name, topic_name. cop, the correct option, counts from 0; -1 means withheld.
2. The original release (https://github.com/medmcqa/medmcqa): `{train,dev,test}.json`, unpacked or in a zip, with the
   same fields, one object per line. cop counts from 1 and is absent from the test; `dev` is the validation split.

If both have a split, the first is read and the other is logged. Because a shifted answer is indistinguishable from a
correct one, converted copies of the other layout are refused: Parquet files with a cop of 4, or with hundreds of rows
and no 0, and JSON lines with a cop of 0. (A few converted rows alone cannot be recognized.)

The answers of the test are withheld for the authors' leaderboard, and each of its rows is rejected. Results are
therefore reported on the validation split. (The table of the original release swaps the sizes of the two.)

- Questions of the choice type "multi" still have one correct option.
- Options of a question may be equal, including the correct one. The answer is a text; prompts use the first letter.
- An empty option is dropped.
- The explanation is null or starts with the letter ("Ans. is 'b' i.e., ..."); it is kept as an attribute.
- The topic is null in many rows.
- Words have lost "rt" in a bad conversion ("hyperophy"); they are kept.
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
from openmedq.datasets.fields import Record, Unusable, keep, make_sample, represent, take_optional_text, take_text
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
    # The answers of the test are not published, so results are reported on the validation split, which never trains.
    roles={"train": Role.TRAIN, "validation": Role.EVALUATION, "test": Role.EVALUATION},
    published_rows={"train": 182_822, "validation": 4_183, "test": 6_150},
)

_ADVICE = f"use the Parquet files of {_HUB}"
OPTIONS = ("opa", "opb", "opc", "opd")
COLUMNS = ("id", "question", *OPTIONS, "cop")
_LINES = {"train.json": "train", "dev.json": "validation", "test.json": "test"}
_NUM_TELLING = 200  # rows after which the absence of a first option cannot be chance

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions; SourceError if neither layout is found, a file is damaged, or `cop` has another base.

    Memory holds the ids, to find repeated ones: 30 MB for the whole dataset.
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
            _log.info("%s: not read: the Parquet file is used", lines[split])
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
        # A row that was rejected before it was identified has no split.
        yield replace(row, split=split) if isinstance(row, Rejected) else row


def _check_counting(path: Path) -> None:
    """Raise SourceError if the column `cop` of a Parquet file counts from 1."""
    try:
        column = pq.read_table(path, columns=["cop"])["cop"]
    except (pa.ArrowException, OSError, KeyError):
        return  # the reader reports it
    if not pa.types.is_integer(column.type):
        raise SourceError(f"{path}: column `cop` is not an integer but {column.type}; {_ADVICE}")
    answered = column.filter(pc.fill_null(pc.greater_equal(column, 0), False))
    lowest, highest = pc.min_max(answered).as_py().values()
    if len(answered) and (highest > 3 or (lowest > 0 and len(answered) >= _NUM_TELLING)):
        raise SourceError(f"{path}: `cop` counts from 1, as the original JSON lines do; {_ADVICE}")


def _builder(file: str, first: int) -> Callable[[Record, str, str, Provenance], Sample]:
    """Return a function that builds a sample; `first` is the cop of the first option in `file`."""

    def build(record: Record, sample_id: str, split: str, provenance: Provenance) -> Sample:
        question = take_text(record, "question", empty=Reason.QUESTION_EMPTY)
        options = [_take_option(record, name) for name in OPTIONS]
        answer = options[_take_place(record, split, file, first)]
        if not answer:
            raise Unusable(Reason.ANSWER_EMPTY, "the option that `cop` names is empty")
        return make_sample(
            card,
            sample_id,
            split,
            provenance,
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
    """Return an option's text; "" if it is null, NaN (written by pandas) or empty."""
    value = record.get(name, ...)
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return ""
    return take_text(record, name, is_number_allowed=True)


def _take_place(record: Record, split: str, file: str, first: int) -> int:
    """Return the place of the correct option, from 0."""
    cop = take_optional_text(record, "cop").removesuffix(".0")  # written by pandas if the column has nulls
    if cop == "-1" or (not cop and split == "test"):
        raise Unusable(Reason.ANSWER_WITHHELD, "field `cop` is withheld")
    if cop == "0" and first == 1:
        raise SourceError(f"{file}: a `cop` is 0: it counts from 0, as the Parquet files do; {_ADVICE}")
    places = {str(first + place): place for place in range(len(OPTIONS))}
    if cop not in places:
        take_text(record, "cop", is_number_allowed=True)
        raise Unusable(Reason.ANSWER_NOT_AN_OPTION, f"field `cop` is not one of {', '.join(places)}")
    return places[cop]
