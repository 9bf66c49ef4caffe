"""VQA-RAD: clinicians' questions on radiology pictures from MedPix (Lau et al., 2018).

Layout read, as published on OSF: `VQA_RAD Dataset Public.json` (a list of 2,248 records) beside
`VQA_RAD Image Folder/` (315 JPEG), the folder as it is or still as .zip, names with spaces or underscores, in the
folder or up to two below it. Where that is absent, a derived copy is read; where it is there, the log names the copies:

- `data_RAD/{trainset,testset}.json`, one or both: the training set adds 1,267 framed questions.
- Hugging Face's `flaviagiammarino/vqa-rad`: `data/{train,test}-*.parquet` (image, question, answer; 1,793 and 451 rows,
  without repeated ones). It has no ids, picture names or links between paraphrases: samples are called by split and
  row, pictures by their bytes.

What is odd in the published file, and in the miniature:

- Split by `phrase_type`: freeform and para train; test_freeform and test_para are the test.
- Split by question, not by picture: 202 of the 203 test pictures also train. In the miniature most test pictures are
  new, so that a model can be tested on pictures that it has not seen; a small portion is shared.
- Answers that are integers; `"CLOSED "` with a space; the first `qid` is a text, the others are numbers.
- `question_rephrase` absent in two records, "NULL" in others; `question_type` as a list or misspelt (`PRSE`, `ATRIB`).
- The same question and answer on the same picture under two ids, once across train and test.
- One picture in the folder that no question names.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openmedq.cards import Access, Card, File
from openmedq.cards.drawing import (
    Figure,
    draw,
    draw_figures,
    draw_uuid,
    encode_jpeg,
    generator,
    shared_figure,
    with_shared_figure,
)
from openmedq.cards.fields import Record, Unusable, keep, represent, take_optional_text, take_text
from openmedq.errors import SourceError
from openmedq.formats import find_below, places_near, warn_absent
from openmedq.formats.hub_shards import find_shards
from openmedq.formats.json_stream import stream_list
from openmedq.formats.visual_questions import read_shards
from openmedq.io.folders import find_all
from openmedq.io.lookup import Pictures, open_pictures
from openmedq.schema import Groups, Provenance, Reason, Rejected, Role, Sample, Task, Turn

QUESTIONS = "VQA_RAD Dataset Public.json"
PICTURES = "VQA_RAD Image Folder"

card = Card(
    id="vqa_rad",
    title="VQA-RAD",
    aliases=("osfstorage-archive", "89kps", "flaviagiammarino/vqa-rad", "VQA_RAD Dataset Public", "data_RAD"),
    homepage="https://osf.io/89kps/",
    citation="Lau et al., A dataset of clinically generated visual questions and answers about radiology images, 2018",
    licence="CC0-1.0",
    access=Access.OPEN,
    task=Task.VQA,
    modality="radiology",
    files=(
        File(path=QUESTIONS, url="https://osf.io/download/6qdas/", about_bytes=1_400_000),
        File(
            path=f"{PICTURES}.zip",
            url="https://files.osf.io/v1/resources/89kps/providers/osfstorage/5b21453986d8510011c277bc/?zip=",
            is_stable=False,
            about_bytes=15_000_000,
        ),
    ),
    roles={"train": Role.TRAIN, "test": Role.EVALUATION},
    published_rows={"train": 1797, "test": 451},
)

_SHARDS = ("*.parquet", "*/*.parquet", "*/*/*.parquet", "*/*/*/*.parquet")
_SPLITS = {"freeform": "train", "para": "train", "test_freeform": "test", "test_para": "test"}
_PLACES = tuple(name + suffix for suffix in ("", ".zip") for name in (PICTURES, PICTURES.replace(" ", "_"), "images"))
_ATTRIBUTES = (
    "phrase_type",
    "image_organ",
    "question_type",
    "evaluation",
    "question_rephrase",
    "question_relation",
    "question_frame",
)

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions; SourceError where neither the OSF file nor a derived copy is there, or it is cut."""
    files = [(path, "") for path in _find(raw, QUESTIONS, QUESTIONS.replace(" ", "_"))]
    derived = [(path, split) for split in ("train", "test") for path in _find(raw, f"{split}set.json")]
    if files:
        for path, _ in derived:
            _log.info("%s: not read: a copy derived from %s, which is there", path, files[0][0].name)
    is_derived, files = not files, files or derived
    packed = [path for place in _SHARDS for path in find_all(raw, place)]
    shards = find_shards(packed, {"train": "train", "test": "test"})
    if not files and not shards:
        raise SourceError(f"{raw}: no `{QUESTIONS}`; expected it there, as published at {card.homepage}")
    for split in card.roles:
        if is_derived and split not in ({of for _, of in derived} or shards):
            warn_absent(card.id, f"{split}set.json" if derived else f"data/{split}-*.parquet", split)
        if files and split in shards:
            _log.info("%s: not read: a copy derived from %s, which is there", shards[split][0], files[0][0].name)
        elif split in shards:
            yield from read_shards(card, raw, split, shards[split])
    if files:
        seen: dict[str, str] = {}
        with open_pictures(raw, *places_near(raw, files[0][0], *_PLACES)) as pictures:
            for path, split in files:
                yield from _read_file(raw, path, split, pictures, seen)


def _find(raw: Path, *names: str) -> list[Path]:
    return [path for path in find_below(raw, *names) if path.is_file()][:1]


def _read_file(
    raw: Path, path: Path, split: str, pictures: Pictures, seen: dict[str, str]
) -> Iterator[Sample | Rejected]:
    """The records of one file; `split` where the file is the split, "" where `phrase_type` says it."""

    def identify(_: str, record: Record) -> tuple[str, str]:
        question_id = take_text(record, "qid", is_number_allowed=True)
        phrase_type = take_text(record, "phrase_type")
        if not split and phrase_type not in _SPLITS:
            raise Unusable(Reason.FIELD_MISSING, "field `phrase_type` is none of " + ", ".join(_SPLITS))
        return question_id, split or _SPLITS[phrase_type]

    def build(record: Record, sample_id: str, split: str, provenance: Provenance) -> Sample:
        question = take_text(record, "question", empty=Reason.QUESTION_EMPTY)
        answer = take_text(record, "answer", empty=Reason.ANSWER_EMPTY, is_number_allowed=True)
        name = take_text(record, "image_name")
        picture = pictures.find(name)
        if picture is None:
            raise Unusable(Reason.IMAGE_MISSING, f"no file {name} {pictures.where}")
        attributes = {attribute: take_optional_text(record, attribute) for attribute in _ATTRIBUTES}
        answer_type = take_optional_text(record, "answer_type").lower()
        return Sample(
            id=sample_id,
            source=card.id,
            split=split,
            task=card.task,
            modality=card.modality,
            licence=card.licence,
            provenance=provenance,
            turns=(Turn(question, answer),),
            images=(picture,),
            groups=Groups(
                case=take_optional_text(record, "image_case_url") or None,
                question=take_optional_text(record, "qid_linked_id") or None,
            ),
            attributes=keep(answer_type=answer_type, **attributes),
        )

    return represent(
        stream_list(path),
        source=card.id,
        unit="record",
        raw=raw,
        path=path,
        identify=identify,
        build=build,
        seen=seen,
    )


# The miniature --------------------------------------------------------------------------------------------------------


class _Property(NamedTuple):
    """What is asked of a figure, in two wordings; a fixed answer is right for 1 of k pictures of a round."""

    question_type: str
    question: str
    rephrased: str
    answer_type: str


_PROPERTIES = {
    "position": _Property("POS", "Where is the mass?", "Where is the mass located?", "OPEN"),
    "organ": _Property("ORGAN", "Which organ is shown?", "Which organ is shown in this image?", "OPEN"),
    "clips": _Property("COUNT", "How many clips are seen?", "How many clips are there?", "OPEN"),
    "size": _Property("SIZE", "Is the mass large?", "Is this mass large?", "CLOSED"),
    "brightness": _Property("ATTRIB", "Is the background bright?", "Is the image background bright?", "CLOSED"),
}
_ORGAN_CODES = {"head": "HEAD", "chest": "CHEST", "abdomen": "ABD"}
_NUM_TRAIN_ROUNDS = 3
_NUM_ASKED = 3  # of the five properties, per training picture


class _Case(NamedTuple):
    figure: Figure
    image_name: str
    url: str


def miniature(raw: Path, seed: int = 0) -> None:
    """Write the OSF layout: 3 rounds of training pictures, and a round of new ones that the test asks everything of."""
    random = generator(seed, card.id, "records")
    train_figures = draw_figures(seed, f"{card.id} train", _NUM_TRAIN_ROUNDS)
    test_figures = with_shared_figure(draw_figures(seed, f"{card.id} test", 1), seed)
    names = iter(random.choice(np.arange(10_000, 60_000), len(train_figures) + len(test_figures) + 1, replace=False))
    train = [_Case(figure, f"synpic{next(names)}.jpg", _case_url(random)) for figure in train_figures]
    train[1::7] = [case._replace(url=train[7 * i].url) for i, case in enumerate(train[1::7])]  # two pictures, one case
    test = [_Case(figure, f"synpic{next(names)}.jpg", _case_url(random)) for figure in test_figures]

    folder = raw / PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    for case in (*train, *test):
        (folder / case.image_name).write_bytes(encode_jpeg(draw(case.figure)))
    unasked = replace(shared_figure(seed), texture=int(random.integers(2**62)))
    (folder / f"synpic{next(names)}.jpg").write_bytes(encode_jpeg(draw(unasked)))

    records = _ask(train, test, random)
    _add_oddities(records)
    (raw / QUESTIONS).write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")


def _ask(train: list[_Case], test: list[_Case], random: np.random.Generator) -> list[dict[str, Any]]:
    names = list(_PROPERTIES)
    records = []
    for index, case in enumerate(train):
        for step in range(_NUM_ASKED):
            name = names[(index + step) % len(names)]
            records.extend(_record_pair(case, name, "freeform", random, is_paraphrased=step == 0 and index % 2 == 0))
    for index, case in enumerate(train[::12]):  # test questions on training pictures, of what training did not ask
        name = names[(12 * index + _NUM_ASKED) % len(names)]
        records.extend(_record_pair(case, name, "test_freeform", random, is_paraphrased=False))
    for case in test:
        for name in names:
            records.extend(_record_pair(case, name, "test_freeform", random, is_paraphrased=name == "position"))
    return records


def _record_pair(
    case: _Case, name: str, phrase_type: str, random: np.random.Generator, *, is_paraphrased: bool
) -> list[dict[str, Any]]:
    """A question and, where asked for, its paraphrase, linked by `qid_linked_id`."""
    asked = _PROPERTIES[name]
    record = {
        "qid": 0,  # numbered at the end
        "phrase_type": phrase_type,
        "qid_linked_id": draw_uuid(random),
        "image_case_url": case.url,
        "image_name": case.image_name,
        "image_organ": _ORGAN_CODES[case.figure.organ],
        "evaluation": "evaluated" if is_paraphrased else "not evaluated",
        "question": asked.question,
        "question_rephrase": asked.rephrased if is_paraphrased else "NULL",
        "question_relation": "strict agreement" if is_paraphrased else "NULL",
        "question_frame": "NULL",
        "question_type": asked.question_type,
        "answer": _answer(case.figure, name),
        "answer_type": asked.answer_type,
    }
    if not is_paraphrased:
        return [record]
    paraphrase = {
        **record,
        "phrase_type": phrase_type.replace("freeform", "para"),
        "question": asked.rephrased,
        "question_rephrase": asked.question,
    }
    return [record, paraphrase]


def _answer(figure: Figure, name: str) -> str | int:
    if name == "position":
        return figure.position
    if name == "organ":
        return figure.organ
    if name == "clips":
        return figure.num_clips
    return "Yes" if (figure.is_large if name == "size" else figure.is_bright) else "No"


def _add_oddities(records: list[dict[str, Any]]) -> None:
    """What is odd in the published file: see the module's docstring."""
    train = [record for record in records if record["phrase_type"] == "freeform"]
    shared = next(record for record in records if record["phrase_type"] == "test_freeform")
    records += [dict(train[index]) for index in (10, 20, 30)] + [{**shared, "phrase_type": "freeform"}]
    for number, record in enumerate(records):
        record["qid"] = number
    records[0]["qid"] = "0"
    for record in [record for record in records if record["answer_type"] == "CLOSED"][5:7]:
        record["answer_type"] = "CLOSED "
    for record in records[40:42]:
        del record["question_rephrase"]
    for index, question_type in enumerate(("PRSE", "ATRIB", "SIZE, PRES")):
        records[50 + index]["question_type"] = question_type


def _case_url(random: np.random.Generator) -> str:
    return f"https://medpix.nlm.nih.gov/case?id={draw_uuid(random)}"
