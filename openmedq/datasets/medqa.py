"""MedQA: questions of the United States Medical Licensing Examination, with options (Jin et al., 2020).

Layout, as published by the authors (https://github.com/jind11/MedQA): `data_clean.zip` (the same bytes are in
https://huggingface.co/datasets/bigbio/med_qa), in place or unpacked, from any folder above or below `questions/`.
It has `US/4_options/phrases_no_exclude_{train,dev,test}.jsonl`, one object per line {question, answer, options,
meta_info, answer_idx, metamap_phrases}. If a split is absent there, the questions with their five published options
are read, `US/{train,dev,test}.jsonl`, which lack metamap_phrases. Hugging Face's other copy
(`GBaker/MedQA-USMLE-4-options`), `phrases_no_exclude_{train,test}.jsonl` without dev, is read too.

Not read: `US_qbank.jsonl`, 14,369 questions that include the test; the Chinese questions (`Mainland`, `Taiwan`);
`metamap_extracted_phrases`; `textbooks`. The files have no ids, so a record is named by its split and line.

- The four and the five options of a question have different letters; only the text of the answer is the same.
- Case, findings and question are one text, sometimes with several lines.
- Some questions end with an unopened quotation mark; some questions and options have space around them.
- Some questions refer to an image that is not published.
- `meta_info` is step1 or step2&3, once stfep2&3.
- Some metamap_phrases are cut wrongly ("ymptoms?").
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Literal

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import (
    Record,
    Unusable,
    keep,
    list_absent,
    make_sample,
    take_optional_text,
    take_text,
    take_texts,
)
from openmedq.datasets.readers import warn_absent
from openmedq.datasets.readers.json_stream import stream_lines
from openmedq.datasets.readers.packed_lines import LinesFile, find_lines, represent_lines
from openmedq.errors import SourceError
from openmedq.schema import Provenance, Reason, Rejected, Role, Sample, Task, Turn
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
    files=(
        File(
            path="data_clean.zip",
            url=f"https://huggingface.co/datasets/bigbio/med_qa/resolve/{_COMMIT}/data_clean.zip",
            size_bytes=131_741_885,
            sha256="1c2ca8130b3d86d9a99a432ab9bef14f3bb9807bef20facd9ac86ba36960f629",
        ),
    ),
    roles={"train": Role.TRAIN, "dev": Role.VALIDATION, "test": Role.EVALUATION},
    published_rows={"train": 10_178, "dev": 1_272, "test": 1_273},
)

QBANK = "US_qbank.jsonl"

_log = logging.getLogger(__name__)

_Key = tuple[str, Literal[4, 5]]  # split and number of options; ("", 5) is the question bank


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions; SourceError if no split is found, or a file is damaged or has another layout."""
    found = find_lines(raw, _identify)
    bank = found.pop(("", 5), None)
    if bank:
        _log.info("%s: not read: it contains the questions of the test too", bank)
    if not found:
        raise SourceError(
            f"{raw}: no `data_clean.zip` and no `US/4_options/phrases_no_exclude_train.jsonl`; expected it there, as "
            f"published at {card.homepage}{f' ({QBANK} mixes train and test)' if bank else ''}"
        )
    for split in card.roles:
        four, five = found.get((split, 4)), found.get((split, 5))
        if four and five:
            _log.info("%s: not read: the same questions with four options are used", five)
        if chosen := four or five:
            num_lines = 0
            for row in _read_file(raw, chosen, split):
                num_lines += 1
                yield row
            if four and five:
                absent = [f"{split}-{line}" for line, _ in islice(stream_lines(five), num_lines, None)]
                path = five.archive if isinstance(five, MemberPath) else five
                yield from list_absent(absent, source=card.id, split=split, raw=raw, path=path, sibling=str(five))
        else:
            warn_absent(card.id, f"phrases_no_exclude_{split}.jsonl", split)


def _identify(place: PurePosixPath) -> _Key | None:
    if place.name == QBANK:
        return "", 5
    for split in card.roles:
        if place.name == f"phrases_no_exclude_{split}.jsonl":
            return split, 4
        if place.name == f"{split}.jsonl" and place.parent.name in ("US", ""):
            return split, 5
    return None


def _read_file(raw: Path, found: LinesFile, split: str) -> Iterator[Sample | Rejected]:
    def build(record: Record, sample_id: str, split: str, provenance: Provenance) -> Sample:
        question = take_text(record, "question", empty=Reason.QUESTION_EMPTY)
        options = _take_options(record)
        letter = take_text(record, "answer_idx", empty=Reason.ANSWER_EMPTY)
        answer = take_text(record, "answer", empty=Reason.ANSWER_EMPTY)
        if letter not in options:
            raise Unusable(Reason.ANSWER_NOT_AN_OPTION, "field `answer_idx` is not the letter of an option")
        if options[letter] != answer:
            raise Unusable(Reason.ANSWER_NOT_AN_OPTION, "field `answer` is not the option that `answer_idx` names")
        phrases = take_texts(record, "metamap_phrases") if isinstance(record.get("metamap_phrases"), list) else []
        return make_sample(
            card,
            sample_id,
            split,
            provenance,
            turns=(Turn(question, answer, options=tuple(options.values())),),
            attributes=keep(
                meta_info=take_optional_text(record, "meta_info"),
                metamap_phrases="; ".join(filter(None, phrases)),
            ),
        )

    return represent_lines(
        found,
        source=card.id,
        split=split,
        raw=raw,
        identify=lambda line, _: f"{split}-{line}",
        build=build,
        seen=None,
    )


def _take_options(record: Record) -> dict[str, str]:
    """Return the options by letter, in the order of the letters."""
    options = record.get("options")
    if not isinstance(options, dict) or not options:
        raise Unusable(Reason.FIELD_MISSING, "field `options` is not an object of options")
    if not all(isinstance(letter, str) and letter.isascii() for letter in options):
        raise Unusable(Reason.FIELD_MISSING, "field `options` has a key that is not a letter")
    return {letter: take_text(options, letter, is_number_allowed=True) for letter in sorted(options)}
