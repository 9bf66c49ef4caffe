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

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openmedq.cards import Access, Card, File
from openmedq.cards.drawing import draw_uuid, generator
from openmedq.cards.fields import Record, Unusable, keep, represent, take_optional_text, take_text
from openmedq.errors import SourceError
from openmedq.formats import warn_absent
from openmedq.formats.columnar import stream_parquet
from openmedq.formats.hub_shards import find_shards
from openmedq.formats.packed_lines import find_lines, represent_lines
from openmedq.io.origin import find_files
from openmedq.schema import Provenance, Reason, Rejected, Role, Sample, Task, Turn

_HUB = "https://huggingface.co/datasets/openlifescienceai/medmcqa"
_COMMIT = "91c6572c454088bf71b679ad90aa8dffcd0d5868"
_SHARD = "data/{}-00000-of-00001.parquet"

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
            path=_SHARD.format(split),
            url=f"{_HUB}/resolve/{_COMMIT}/{_SHARD.format(split)}",
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
_OPTIONS = ("opa", "opb", "opc", "opd")
_COLUMNS = ("id", "question", *_OPTIONS, "cop")
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
        raise SourceError(f"{raw}: no `{_SHARD.format('train')}`; expected it there, as published at {card.homepage}")
    seen: dict[str, str] = {}
    for split in card.roles:
        for path in shards.get(split, []):
            yield from _read_shard(raw, path, split, seen)
        if split not in lines and split not in shards:
            warn_absent(card.id, _SHARD.format(split), split)
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
        stream_parquet(path, _COLUMNS),
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
        options = [_take_option(record, name) for name in _OPTIONS]
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
    places = {str(first + place): place for place in range(len(_OPTIONS))}
    if cop not in places:
        take_text(record, "cop", is_number_allowed=True)
        raise Unusable(Reason.ANSWER_NOT_AN_OPTION, f"field `cop` is none of {', '.join(places)}")
    return places[cop]


# The miniature --------------------------------------------------------------------------------------------------------

_KINDS = {  # the rule: each thing is of one kind
    "bone": "Femur Tibia Humerus Radius Ulna Fibula Sternum Scapula Clavicle Patella",
    "hormone": "Insulin Glucagon Cortisol Thyroxine Oxytocin Prolactin Aldosterone Melatonin Gastrin Secretin",
    "bacterium": "Salmonella Shigella Listeria Vibrio Proteus Klebsiella Brucella Legionella Yersinia Borrelia",
    "drug": "Aspirin Digoxin Warfarin Heparin Atropine Morphine Ketamine Lithium Metformin Furosemide",
}
_SUBJECTS = {"bone": "Anatomy", "hormone": "Physiology", "bacterium": "Microbiology", "drug": "Pharmacology"}
_WORDINGS = {  # a wording is of one split, so that no question is in two
    "train": ("Which of the following is a {kind}?", "All of the following are no {kind} except"),
    "validation": ("Which one is a {kind}?",),
    "test": ("A {kind} is",),
}
_NUM_QUESTIONS = {"train": 80, "validation": 24, "test": 12}


def miniature(raw: Path, seed: int = 0) -> None:
    """Write the three Parquet files of the Hugging Face set: 116 questions, of which the test's 12 have no answers."""
    (raw / "data").mkdir(parents=True, exist_ok=True)
    random = generator(seed, card.id)
    for split, num_questions in _NUM_QUESTIONS.items():
        rows = [_record(random, split, number) for number in range(num_questions)]
        if split == "train":
            _add_oddities(rows)
        pq.write_table(pa.Table.from_pylist(rows, _schema()), raw / _SHARD.format(split))


def _record(random: np.random.Generator, split: str, number: int) -> dict[str, Any]:
    kinds = list(_KINDS)
    kind = kinds[number % len(kinds)]
    shown = [str(random.choice(_KINDS[each].split())) for each in kinds]
    order = [int(place) for place in random.permutation(len(kinds))]
    place = order.index(kinds.index(kind))
    wordings = _WORDINGS[split]
    wording = wordings[number // len(kinds) % len(wordings)]
    answer = shown[kinds.index(kind)]
    is_explained = split != "test" and random.random() < 0.8
    return {
        "id": draw_uuid(random),
        "question": wording.format(kind=kind),
        **{name: shown[index] for name, index in zip(_OPTIONS, order, strict=True)},
        "cop": -1 if split == "test" else place,
        "choice_type": "multi" if "All" in wording else "single",
        "exp": f"Ans. is '{'abcd'[place]}' i.e., {answer} {answer} is a {kind}." if is_explained else None,
        "subject_name": _SUBJECTS[kind],
        "topic_name": f"{kind.capitalize()} names" if random.random() < 0.5 else None,
    }


def _add_oddities(rows: list[dict[str, Any]]) -> None:
    """Equal options, wrong and right ones, empty ones, and a word without its rt."""
    for row, is_right in zip(rows[:4], (False, False, True, True), strict=True):
        right = _OPTIONS[row["cop"]]
        wrong = [name for name in _OPTIONS if name != right]
        row[wrong[0]] = row[right] if is_right else row[wrong[1]]
    for row, empty in zip(rows[4:6], (None, ""), strict=True):
        row[_OPTIONS[(row["cop"] + 1) % 4]] = empty
    rows[6]["question"] = f" {rows[6]['question']} (impoant)"


def _schema() -> pa.Schema:
    """In the hub's words, cop with its names."""
    names = (*_COLUMNS, "choice_type", "exp", "subject_name", "topic_name")
    features: dict[str, object] = {name: {"dtype": "string", "_type": "Value"} for name in names}
    features["cop"] = {"names": ["a", "b", "c", "d"], "_type": "ClassLabel"}
    return pa.schema(
        [pa.field(name, pa.int64() if name == "cop" else pa.string()) for name in names],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
