"""MedQA: questions of the United States Medical Licensing Examination, with options (Jin et al., 2020).

Layout, as published by the authors (https://github.com/jind11/MedQA): `data_clean.zip` (the same bytes are in
https://huggingface.co/datasets/bigbio/med_qa), in place or unpacked, from any folder above or below `questions/`.
It has `US/4_options/phrases_no_exclude_{train,dev,test}.jsonl`, one object per line {question, answer, options,
meta_info, answer_idx, metamap_phrases}. Hugging Face's other copy (`GBaker/MedQA-USMLE-4-options`) has the same files
without dev.

Not read: the same questions with five options, `US/{train,dev,test}.jsonl`; `US_qbank.jsonl`, 14,369 questions that
include the test; the Chinese questions (`Mainland`, `Taiwan`); `metamap_extracted_phrases`; `textbooks`. The files have
no ids, so a record is named by its split and line.

- Case, findings and question are one text, sometimes with several lines.
- Some questions end with an unopened quotation mark; some questions and options have space around them.
- Some questions refer to an image that is not published.
- Some metamap_phrases are cut wrongly ("ymptoms?").
"""

from collections.abc import Iterator
from pathlib import Path

from openmedq.datasets.card import Access, Card, pinned
from openmedq.datasets.fields import (
    Content,
    Record,
    Unusable,
    join_texts,
    keep,
    represent,
    take_optional_text,
    take_optional_texts,
    take_text,
)
from openmedq.datasets.readers import Place, find_places, not_found, warn_absent
from openmedq.datasets.readers.json_stream import stream_lines
from openmedq.schema import Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.archives import MemberPath

_COMMIT = "ddef95d268cdad413693d634279a9a679d468469"  # the last commit known to have the authors' file

card = Card(
    id="medqa",
    title="MedQA",
    aliases=("jind11/MedQA", "data_clean", "bigbio/med_qa", "GBaker/MedQA-USMLE-4-options", "MedQA-USMLE"),
    homepage="https://github.com/jind11/MedQA",
    citation="Jin et al., What Disease does this Patient Have? A Large-scale Open Domain Question Answering Dataset "
    "from Medical Exams, Applied Sciences 11 (14), 2021",
    licence="MIT by the authors' repository, CC-BY-4.0 or unknown by its copies; the questions come from exam "
    "preparation sites, whose terms nobody states",
    access=Access.OPEN,
    task=Task.MULTIPLE_CHOICE,
    modality="text",
    files=pinned(
        f"https://huggingface.co/datasets/bigbio/med_qa/resolve/{_COMMIT}",
        {"data_clean.zip": (131_741_885, "1c2ca8130b3d86d9a99a432ab9bef14f3bb9807bef20facd9ac86ba36960f629")},
    ),
    roles={"train": Role.TRAIN, "dev": Role.VALIDATION, "test": Role.EVALUATION},
    published_rows={"train": 10_178, "dev": 1_272, "test": 1_273},
)

_NAMES = {split: f"phrases_no_exclude_{split}.jsonl" for split in card.roles}


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions; SourceError if no split is found, or a file is damaged or has another layout."""
    found = find_places(raw, *_NAMES.values())
    if not found:
        raise not_found(card, raw, f"`data_clean.zip` with `US/4_options/{_NAMES['train']}`")
    for split, name in _NAMES.items():
        if name in found:
            yield from _read_file(raw, found[name], split)
        else:
            warn_absent(card.id, name, split)


def _read_file(raw: Path, place: Place, split: str) -> Iterator[Sample | Rejected]:
    return represent(
        card,
        stream_lines(place),
        raw=raw,
        path=place.archive if isinstance(place, MemberPath) else place,
        identify=lambda line, _: (f"{split}-{line}", split),
        build=_build,
        unit=f"{place.member} line" if isinstance(place, MemberPath) else "line",
        is_keyed=True,
    )


def _build(record: Record, _: str) -> Content:
    question = take_text(record, "question", empty=Reason.QUESTION_EMPTY)
    options = _take_options(record)
    letter = take_text(record, "answer_idx", empty=Reason.ANSWER_EMPTY)
    answer = take_text(record, "answer", empty=Reason.ANSWER_EMPTY)
    if letter not in options:
        raise Unusable(Reason.ANSWER_NOT_AN_OPTION, "field `answer_idx` is not the letter of an option")
    if options[letter] != answer:
        raise Unusable(Reason.ANSWER_NOT_AN_OPTION, "field `answer` is not the option that `answer_idx` names")
    return {
        "turns": (Turn(question, answer, options=tuple(options.values())),),
        "attributes": keep(
            meta_info=take_optional_text(record, "meta_info"),
            metamap_phrases=join_texts(take_optional_texts(record, "metamap_phrases")),
        ),
    }


def _take_options(record: Record) -> dict[str, str]:
    """Return the options by letter, in the order of the letters."""
    options = record.get("options")
    if not isinstance(options, dict) or not options:
        raise Unusable(Reason.FIELD_MISSING, "field `options` is not an object of options")
    if not all(isinstance(letter, str) and letter.isascii() for letter in options):
        raise Unusable(Reason.FIELD_MISSING, "field `options` has a key that is not a letter")
    return {letter: take_text(options, letter, is_number_allowed=True) for letter in sorted(options)}
