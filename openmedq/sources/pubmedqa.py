"""PubMedQA: yes, no or maybe to the question that a paper's title asks, given its abstract (Jin et al., 2019).

Layout read, as published on GitHub, files in `data/` or directly: `ori_pqal.json` (PQA-L, 1,000 records by people,
keyed by PubMed id) with `test_ground_truth.json`, whose 500 ids are the test; `ori_pqaa.json` (PQA-A, 211,269 records
made by rule, from the authors' drive). One of the two is enough. `ori_pqau.json` (PQA-U) has no decision, hence no
answer: it is named in the log and not read.

LONG_ANSWER is the abstract's conclusion, which gives the answer away: it is an attribute, never part of the prompt.

What is odd in the published files, and in the miniature: PQA-A knows no maybe and is mostly yes; YEAR is null in some
records; the decision is spelt `final_decision`, the other fields in capitals.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from openmedq.cards import Access, Card, File
from openmedq.cards.drawing import generator
from openmedq.cards.fields import Record, Unusable, keep, represent, take_optional_text, take_text, take_texts
from openmedq.errors import SourceError
from openmedq.formats import find_file
from openmedq.formats.json_stream import stream_object
from openmedq.schema import Provenance, Reason, Rejected, Role, Sample, Task, Turn

DECISIONS = ("yes", "no", "maybe")

card = Card(
    id="pubmedqa",
    title="PubMedQA",
    homepage="https://github.com/pubmedqa/pubmedqa",
    citation="Jin et al., PubMedQA: A Dataset for Biomedical Research Question Answering, EMNLP 2019",
    licence="MIT",
    access=Access.OPEN,
    task=Task.TEXT_QA,
    modality="text",
    files=(
        File(
            path="data/ori_pqal.json",
            url="https://raw.githubusercontent.com/pubmedqa/pubmedqa/master/data/ori_pqal.json",
        ),
        File(
            path="data/test_ground_truth.json",
            url="https://raw.githubusercontent.com/pubmedqa/pubmedqa/master/data/test_ground_truth.json",
        ),
        File(path="data/ori_pqaa.json", url="https://github.com/pubmedqa/pubmedqa#pqa-a"),
    ),
    roles={"train": Role.TRAIN, "test": Role.EVALUATION, "artificial": Role.TRAIN},
    published_rows={"train": 500, "test": 500, "artificial": 211_269},
)

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream PQA-L, then PQA-A; SourceError where neither is there, a file is cut, or the test's ids are not known."""
    labelled = find_file(raw, "data/ori_pqal.json", "ori_pqal.json")
    artificial = find_file(raw, "data/ori_pqaa.json", "ori_pqaa.json")
    unlabelled = find_file(raw, "data/ori_pqau.json", "ori_pqau.json")
    if unlabelled:
        _log.info("%s: not read: PQA-U has no decisions", unlabelled)
    if not labelled and not artificial:
        raise SourceError(f"{raw}: no `data/ori_pqal.json`; expected it there, as published at {card.homepage}")

    seen: set[str] = set()
    if labelled:
        yield from _read_file(raw, labelled, _test_ids(raw, labelled), "train", seen)
    if artificial:
        yield from _read_file(raw, artificial, frozenset(), "artificial", seen)


def _test_ids(raw: Path, labelled: Path) -> frozenset[str]:
    path = find_file(raw, "data/test_ground_truth.json", "test_ground_truth.json")
    if path is None:
        raise SourceError(
            f"{labelled.parent / 'test_ground_truth.json'}: not found; without it the test questions would train"
        )
    return frozenset(key.strip() for key, _ in stream_object(path))


def _read_file(
    raw: Path, path: Path, test_ids: frozenset[str], split: str, seen: set[str]
) -> Iterator[Sample | Rejected]:
    def identify(key: str, _: Record) -> tuple[str, str]:
        pubmed_id = take_text({"PubMed id": key}, "PubMed id")
        return pubmed_id, "test" if pubmed_id in test_ids else split

    def build(record: Record, sample_id: str, split: str, provenance: Provenance) -> Sample:
        question = take_text(record, "QUESTION", empty=Reason.QUESTION_EMPTY)
        decision = take_text(record, "final_decision", empty=Reason.ANSWER_EMPTY)
        if decision not in DECISIONS:
            raise Unusable(Reason.ANSWER_NOT_AN_OPTION, "field `final_decision` is none of yes, no, maybe")
        return Sample(
            id=sample_id,
            source=card.id,
            split=split,
            task=card.task,
            modality=card.modality,
            licence=card.licence,
            provenance=provenance,
            turns=(Turn(question, decision, context=_context(record), options=DECISIONS),),
            attributes=keep(
                answer_type="closed",
                long_answer=take_optional_text(record, "LONG_ANSWER"),
                meshes="; ".join(take_texts(record, "MESHES")) if isinstance(record.get("MESHES"), list) else "",
                year=take_optional_text(record, "YEAR"),
                reasoning_required_pred=take_optional_text(record, "reasoning_required_pred"),
                reasoning_free_pred=take_optional_text(record, "reasoning_free_pred"),
            ),
        )

    return represent(
        stream_object(path),
        source=card.id,
        unit="PubMed id",
        raw=raw,
        path=path,
        identify=identify,
        build=build,
        seen=seen,
    )


def _context(record: Record) -> str:
    """The abstract's sections, one a line, each after its label where there is one for each."""
    texts = take_texts(record, "CONTEXTS")
    labels = take_texts(record, "LABELS") if isinstance(record.get("LABELS"), list) else []
    if len(labels) != len(texts):
        return "\n".join(texts)
    return "\n".join(f"{label}: {text}" if label else text for label, text in zip(labels, texts, strict=True))


# The miniature --------------------------------------------------------------------------------------------------------

_TREATMENTS = ("aspirin", "exercise", "insulin", "surgery", "vitamin D", "massage", "screening", "iron", "zinc", "yoga")
_OUTCOMES = (
    "survival",
    "pain",
    "sleep",
    "bone density",
    "blood pressure",
    "quality of life",
    "wound healing",
    "lung function",
    "vision",
    "hearing",
    "mobility",
    "memory",
    "appetite",
    "birth weight",
    "renal function",
    "glucose control",
    "fatigue",
    "balance",
    "mood",
    "grip strength",
)
_RESULTS = {  # the rule: the results state the decision, each in words of its own
    "yes": ("{outcome} improved with {treatment} (p < 0.01).", "{treatment} improves {outcome}."),
    "no": ("{outcome} did not differ between the groups (p = 0.71).", "{treatment} does not improve {outcome}."),
    "maybe": (
        "{outcome} improved in one of the two hospitals only.",
        "Whether {treatment} improves {outcome} is open.",
    ),
}


def miniature(raw: Path, seed: int = 0) -> None:
    """Write 60 records of PQA-L, 30 of them in the ground truth, 120 of PQA-A and 10 of PQA-U."""
    random = generator(seed, card.id)
    pairs = list(product(_TREATMENTS, _OUTCOMES))
    subjects = iter(random.permutation(len(pairs)))
    pubmed_ids = iter(random.choice(np.arange(10_000_000, 30_000_000), 190, replace=False))

    def records(decisions: list[str]) -> dict[str, dict[str, Any]]:
        drawn = [decisions[index] for index in random.permutation(len(decisions))]
        return {
            str(next(pubmed_ids)): _record(pairs[next(subjects)], decision, 2000 + int(random.integers(18)))
            for decision in drawn
        }

    train, test = records([*DECISIONS] * 10), records([*DECISIONS] * 10)
    artificial = records(["yes"] * 80 + ["no"] * 40)
    unlabelled = records(["yes"] * 10)
    labelled = {key: (train | test)[key] for key in sorted(train | test)}
    for record in list(labelled.values())[::9]:
        record["YEAR"] = None
    for record in labelled.values():
        record |= {"reasoning_required_pred": record["final_decision"], "reasoning_free_pred": record["final_decision"]}
    for record in unlabelled.values():
        del record["final_decision"]

    folder = raw / "data"
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "ori_pqal.json": labelled,
        "ori_pqaa.json": artificial,
        "ori_pqau.json": unlabelled,
        "test_ground_truth.json": {key: record["final_decision"] for key, record in test.items()},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


def _record(subject: tuple[str, str], decision: str, year: int) -> dict[str, Any]:
    treatment, outcome = subject
    result, conclusion = _RESULTS[decision]
    words = {"treatment": treatment, "outcome": outcome}
    return {
        "QUESTION": f"Does {treatment} improve {outcome}?",
        "CONTEXTS": [f"The effect of {treatment} on {outcome} is debated.", _sentence(result.format(**words))],
        "LABELS": ["BACKGROUND", "RESULTS"],
        "MESHES": ["Humans", treatment.capitalize(), outcome.capitalize()],
        "YEAR": str(year),
        "final_decision": decision,
        "LONG_ANSWER": _sentence(conclusion.format(**words)),
    }


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
