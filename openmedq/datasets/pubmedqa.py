"""PubMedQA: yes, no or maybe to the question that a paper's title asks, given its abstract (Jin et al., 2019).

Layouts read, each as it is or a folder further down; of each part one, the other is named in the log. The card has
PQA-L of the first and the other parts of the second:

1. GitHub's and the authors' drive: `data/ori_pqal.json` (PQA-L, 1,000 records by people, keyed by PubMed id),
   `ori_pqaa.json` (PQA-A, 211,269 records made by rule), `ori_pqau.json` (PQA-U, 61,249 records without a decision).
2. Hugging Face, `qiaojin/PubMedQA`: `pqa_labeled/`, `pqa_artificial/`, `pqa_unlabeled/`, each with
   `train-00000-of-00001.parquet` of the same records: pubid, question, context {contexts, labels, meshes, and of PQA-L
   the predictions, exploded into letters, which are joined again}, long_answer, final_decision; no year.

One part is enough. The 500 ids in GitHub's `test_ground_truth.json` are the test of PQA-L, in both layouts: without
it reading stops, for neither layout marks the test questions and they would train. Records of PQA-U are rejected as
withheld, one by one. Files made by the authors' `split_dataset.py` (`pqal_fold0/`, `test_set.json`,
`pqaa_train_set.json`, ...) are copies of records: named in the log, not read.

LONG_ANSWER is the abstract's conclusion, which gives the answer away: it is an attribute, never part of the prompt.

What is odd in the published files, and in the miniature:

- PQA-A knows no maybe and is mostly yes.
- PQA-U has no decisions.
- YEAR is null in some records.
- The decision is spelt `final_decision`, the other fields in capitals.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import (
    Record,
    Unusable,
    keep,
    list_absent,
    represent,
    take_optional_text,
    take_text,
    take_texts,
)
from openmedq.datasets.readers import warn_absent
from openmedq.datasets.readers.columnar import stream_parquet
from openmedq.datasets.readers.hub_shards import find_shards
from openmedq.datasets.readers.json_stream import stream_object
from openmedq.errors import SourceError
from openmedq.schema import Provenance, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.origin import find_files

DECISIONS = ("yes", "no", "maybe")

_GITHUB = "https://raw.githubusercontent.com/pubmedqa/pubmedqa/1cbae8e92f72f20c8d3747cbb3bf5bc53554d997"
_HUB = "https://huggingface.co/datasets/qiaojin/PubMedQA/resolve/9001f2853fb87cab8d220904e0de81ac6973b318"
SHARD = "train-00000-of-00001.parquet"

card = Card(
    id="pubmedqa",
    title="PubMedQA",
    aliases=("qiaojin/PubMedQA", "pubmedqa/pubmedqa"),
    homepage="https://github.com/pubmedqa/pubmedqa",
    citation="Jin et al., PubMedQA: A Dataset for Biomedical Research Question Answering, EMNLP 2019",
    licence="MIT",
    access=Access.OPEN,
    task=Task.TEXT_QA,
    modality="text",
    files=(
        File(
            path="data/ori_pqal.json",
            url=f"{_GITHUB}/data/ori_pqal.json",
            size_bytes=2_584_787,
            sha256="8b3276be8942ebbd77f3ddcda12c1749bf0e490045a736fd8438ee40cf37a41d",
        ),
        File(
            path="data/test_ground_truth.json",
            url=f"{_GITHUB}/data/test_ground_truth.json",
            size_bytes=11_414,
            sha256="939fe566f09017d13b1ca64d2ddfee0bc2374b366048152997669cccedc44d51",
        ),
        # These two are on the authors' drive otherwise, which asks a person to confirm.
        File(path=f"pqa_artificial/{SHARD}", url=f"{_HUB}/pqa_artificial/{SHARD}", about_bytes=233_000_000),
        File(path=f"pqa_unlabeled/{SHARD}", url=f"{_HUB}/pqa_unlabeled/{SHARD}", about_bytes=66_000_000),
    ),
    # No record of the unlabeled split can be a sample; whatever became one would not train.
    roles={"train": Role.TRAIN, "test": Role.EVALUATION, "artificial": Role.TRAIN, "unlabeled": Role.VALIDATION},
    published_rows={"train": 500, "test": 500, "artificial": 211_269, "unlabeled": 61_249},
)


_PARTS = (  # of the set: file, folder of the hub, split
    ("ori_pqal.json", "pqa_labeled", "train"),
    ("ori_pqaa.json", "pqa_artificial", "artificial"),
    ("ori_pqau.json", "pqa_unlabeled", "unlabeled"),
)
_NAMES = {split: name for name, _, split in _PARTS} | {"test": _PARTS[0][0]}
TRUTH = "test_ground_truth.json"
_TRUTH_URL = f"{_GITHUB}/data/{TRUTH}"
_DERIVED = {
    *("test_set.json", "train_set.json", "dev_set.json"),
    *("pqal_test_set.json", "pqaa_train_set.json", "pqaa_dev_set.json"),
}
_COLUMNS = ("pubid", "question", "context", "long_answer")
_CAPITALS = {"question", "contexts", "labels", "meshes", "long_answer"}  # as the first layout spells them

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream PQA-L, PQA-A, PQA-U; SourceError where none is there, a file is cut, or the test's ids are not known.

    PubMed ids stay in memory, to tell repeated ones: 20 MB for the whole set.
    """
    files = [path for path, _ in find_files(raw)] if raw.is_dir() else []
    named = {path.name: path for path in sorted(files, key=lambda path: (len(path.parts), path), reverse=True)}
    published = {TRUTH, *(name for name, _, _ in _PARTS)}
    for path in files:
        if path.name in _DERIVED or (path.name in published and path != named[path.name]):
            _log.info("%s: not read: it holds copies of records", path)

    seen: set[str] = set()
    is_any = False
    absent_splits: tuple[str, ...] = ()
    for name, folder, split in _PARTS:
        file, shards = named.get(name), _find_shards(raw, files, folder)
        if file and shards:
            _log.info("%s: not read: %s is there", shards[0].parent, file)
        for path in [file] if file else shards:
            is_any = True
            test_ids = _test_ids(path, named.get(TRUTH)) if split == "train" else frozenset()
            yield from _read_file(raw, path, test_ids, split, seen)
            if truth := named.get(TRUTH):
                absent = sorted(test_ids - seen)
                yield from list_absent(absent, source=card.id, split="test", raw=raw, path=truth, unit="PubMed id")
        if not file and not shards:
            absent_splits += ("train", "test") if split == "train" else (split,)
    if not is_any:
        raise SourceError(f"{raw}: no `data/ori_pqal.json`; expected it there, as published at {card.homepage}")
    for split in absent_splits:
        warn_absent(card.id, _NAMES[split], split)


def _find_shards(raw: Path, files: list[Path], folder: str) -> list[Path]:
    mine = [path for path in files if folder in (raw.name, *path.relative_to(raw).parts)]
    return find_shards(mine, {"train": "train"}).get("train", [])


def _test_ids(labelled: Path, truth: Path | None) -> frozenset[str]:
    path = truth or labelled.parent / TRUTH
    if truth is None:
        raise SourceError(f"{path}: not found; without it the test questions would train; get it from {_TRUTH_URL}")
    records = dict(stream_object(truth))
    if any(isinstance(record, Unusable) for record in records.values()):
        raise SourceError(f"{path}: is cut; without all of it test questions would train; get it from {_TRUTH_URL}")
    test_ids = frozenset(map(str.strip, records))
    if not test_ids:
        raise SourceError(f"{path}: holds no id; without it the test questions would train; get it from {_TRUTH_URL}")
    return test_ids


def _read_file(
    raw: Path, path: Path, test_ids: frozenset[str], split: str, seen: set[str]
) -> Iterator[Sample | Rejected]:
    is_table = path.suffix == ".parquet"

    def identify(key: str, record: Record) -> tuple[str, str]:
        pubmed_id = take_text(record if is_table else {"pubid": key}, "pubid", is_number_allowed=True)
        if pubmed_id in seen:  # in another part too: the id is the article's
            raise Unusable(Reason.ID_REPEATED, f"{pubmed_id} stands for an earlier record too")
        seen.add(pubmed_id)
        return pubmed_id, "test" if pubmed_id in test_ids else split

    def build(record: Record, sample_id: str, split: str, provenance: Provenance) -> Sample:
        question = take_text(record, "QUESTION", empty=Reason.QUESTION_EMPTY)
        context = _context(record)
        if split == "unlabeled" and not record.get("final_decision"):
            raise Unusable(Reason.ANSWER_WITHHELD, "PQA-U has no decisions")
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
            turns=(Turn(question, decision, context=context, options=DECISIONS),),
            attributes=keep(
                answer_type="closed",
                long_answer=take_optional_text(record, "LONG_ANSWER"),
                meshes="; ".join(take_texts(record, "MESHES")) if isinstance(record.get("MESHES"), list) else "",
                year=take_optional_text(record, "YEAR"),
                reasoning_required_pred=_prediction(record, "reasoning_required_pred"),
                reasoning_free_pred=_prediction(record, "reasoning_free_pred"),
            ),
        )

    return represent(
        _stream_table(path) if is_table else stream_object(path),
        source=card.id,
        unit="row" if is_table else "PubMed id",
        raw=raw,
        path=path,
        identify=identify,
        build=build,
        seen=None,
    )


def _stream_table(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a Parquet file as the records of the first layout, with the PubMed id in `pubid`."""
    for key, row in stream_parquet(path, _COLUMNS):
        if isinstance(row, Unusable):
            yield key, row
            continue
        context = row.pop("context")
        fields = row | (context if isinstance(context, dict) else {})
        yield key, {(name.upper() if name in _CAPITALS else name): value for name, value in fields.items()}


def _context(record: Record) -> str:
    """The abstract's sections, one a line, each after its label where there is one for each."""
    texts = take_texts(record, "CONTEXTS")
    labels = take_texts(record, "LABELS") if isinstance(record.get("LABELS"), list) else []
    if len(labels) != len(texts):
        return "\n".join(texts)
    return "\n".join(f"{label}: {text}" if label else text for label, text in zip(labels, texts, strict=True))


def _prediction(record: Record, name: str) -> str:
    """A prediction, joined again where it was exploded into letters."""
    if isinstance(record.get(name), list):
        return "".join(take_texts(record, name))
    return take_optional_text(record, name)
