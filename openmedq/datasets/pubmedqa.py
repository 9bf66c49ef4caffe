"""PubMedQA: does the abstract answer the question in its title with yes, no or maybe? (Jin et al., 2019).

Sources: https://github.com/pubmedqa/pubmedqa and https://huggingface.co/datasets/qiaojin/PubMedQA

Layouts, in any subfolder; of each part, the first layout that is present is read. The card has PQA-L in the first
layout and the other parts in the second.

1. GitHub and the authors' Google Drive: JSON objects by PubMed id. `data/ori_pqal.json` is PQA-L, 1,000 records with
   decisions made by people; `ori_pqaa.json` is PQA-A, 211,269 records with decisions made by a rule; `ori_pqau.json` is
   PQA-U, 61,249 records without decisions.
2. Hugging Face: `pqa_labeled/`, `pqa_artificial/` and `pqa_unlabeled/`, each with `train-00000-of-00001.parquet` and
   the columns pubid, question, context {contexts, labels, meshes}, long_answer and final_decision.

One part is enough. The 500 ids in GitHub's `test_ground_truth.json` are the test split of PQA-L in both layouts. If
that file is missing, reading stops, because the test questions would become training data. Records of PQA-U are
rejected as withheld. The files that the authors' `split_dataset.py` writes are copies of records and are not read.

LONG_ANSWER is the conclusion of the abstract and reveals the answer. It is an attribute and never part of the prompt.

Known irregularities of the published files, which the miniature reproduces:

- YEAR is null in some records and absent on Hugging Face.
- Hugging Face stores the predictions of PQA-L as lists of single letters; they are joined again.
- `final_decision` and the predictions are spelled in lower case, the other fields in capitals.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openmedq.datasets.card import Access, Card, File, pinned
from openmedq.datasets.fields import (
    Content,
    Record,
    Unusable,
    join_texts,
    keep,
    list_absent,
    represent,
    take_optional_text,
    take_optional_texts,
    take_text,
    take_texts,
)
from openmedq.datasets.readers import list_files, not_found, use_first, warn_absent
from openmedq.datasets.readers.columnar import stream_parquet
from openmedq.datasets.readers.hub_shards import find_shards
from openmedq.datasets.readers.json_stream import stream_object
from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Role, Sample, Task, Turn

DECISIONS = ("yes", "no", "maybe")

_GITHUB = "https://raw.githubusercontent.com/pubmedqa/pubmedqa/1cbae8e92f72f20c8d3747cbb3bf5bc53554d997"
_HUB = "https://huggingface.co/datasets/qiaojin/PubMedQA/resolve/9001f2853fb87cab8d220904e0de81ac6973b318"
TRUTH = "test_ground_truth.json"
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
        *pinned(
            _GITHUB,
            {
                "data/ori_pqal.json": (2_584_787, "8b3276be8942ebbd77f3ddcda12c1749bf0e490045a736fd8438ee40cf37a41d"),
                f"data/{TRUTH}": (11_414, "939fe566f09017d13b1ca64d2ddfee0bc2374b366048152997669cccedc44d51"),
            },
        ),
        # The authors publish these two on Google Drive, which asks a person to confirm the download.
        File(path=f"pqa_artificial/{SHARD}", url=f"{_HUB}/pqa_artificial/{SHARD}", about_bytes=233_000_000),
        File(path=f"pqa_unlabeled/{SHARD}", url=f"{_HUB}/pqa_unlabeled/{SHARD}", about_bytes=66_000_000),
    ),
    # All unlabeled records are rejected.
    roles={"train": Role.TRAIN, "test": Role.EVALUATION, "artificial": Role.TRAIN, "unlabeled": Role.VALIDATION},
    published_rows={"train": 500, "test": 500, "artificial": 211_269, "unlabeled": 61_249},
)

_PARTS = {  # split -> file, folder on Hugging Face
    "train": ("ori_pqal.json", "pqa_labeled"),
    "artificial": ("ori_pqaa.json", "pqa_artificial"),
    "unlabeled": ("ori_pqau.json", "pqa_unlabeled"),
}
_COLUMNS = ("pubid", "question", "context", "long_answer")
_CAPITALS = {"question", "contexts", "labels", "meshes", "long_answer"}  # spelled in capitals in the first layout


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream PQA-L, PQA-A and PQA-U. SourceError if none is present, a file is truncated, or the test ids are missing.

    Memory: all PubMed ids (20 MB), to detect repeated ones.
    """
    files = list_files(raw)
    parts = {split: _find_part(raw, files, *names) for split, names in _PARTS.items()}
    if not any(parts.values()):
        raise not_found(card, raw, "`data/ori_pqal.json`")
    seen: set[str] = set()
    for split, paths in parts.items():
        if not paths:
            for absent in ("train", "test") if split == "train" else (split,):
                warn_absent(card.id, _PARTS[split][0], absent)
            continue
        truth = next(iter(_find_named(files, TRUTH)), paths[0].parent / TRUTH)
        test_ids = _read_test_ids(truth) if split == "train" else frozenset()
        for path in paths:
            yield from _read_file(raw, path, test_ids, split, seen)
        absent_ids = sorted(test_ids - seen)
        yield from list_absent(card, absent_ids, split="test", raw=raw, path=truth, unit="PubMed id")


def _find_part(raw: Path, files: list[Path], name: str, folder: str) -> list[Path]:
    """Find the JSON file of a part, or else its shards on Hugging Face."""
    named = _find_named(files, name)
    inside = [path for path in files if folder in (raw.name, *path.relative_to(raw).parts)]
    shards = find_shards(inside, ("train",)).get("train", [])
    return [use_first([*named, *shards])] if named else shards


def _find_named(files: list[Path], name: str) -> list[Path]:
    return sorted((path for path in files if path.name == name), key=lambda path: (len(path.parts), path))


def _read_test_ids(path: Path) -> frozenset[str]:
    problem = "not found"
    if path.is_file():
        records = dict(stream_object(path))
        if records and not any(isinstance(record, Unusable) for record in records.values()):
            return frozenset(map(str.strip, records))
        problem = "is truncated" if records else "contains no id"
    raise SourceError(
        f"{path}: {problem}; without the complete list, test questions would train the model; get it from "
        f"{_GITHUB}/data/{TRUTH}"
    )


def _read_file(
    raw: Path, path: Path, test_ids: frozenset[str], split: str, seen: set[str]
) -> Iterator[Sample | Rejected]:
    is_table = path.suffix == ".parquet"

    def identify(key: str, record: Record) -> tuple[str, str]:
        pubmed_id = take_text(record if is_table else {"pubid": key}, "pubid", is_number_allowed=True)
        if pubmed_id in seen:  # in any part: the id is that of the article
            raise Unusable(Reason.ID_REPEATED, f"{pubmed_id} is the id of an earlier record too")
        seen.add(pubmed_id)
        return pubmed_id, "test" if pubmed_id in test_ids else split

    def build(record: Record, split: str) -> Content:
        question = take_text(record, "QUESTION", empty=Reason.QUESTION_EMPTY)
        context = _context(record)
        if split == "unlabeled":
            raise Unusable(Reason.ANSWER_WITHHELD, "PQA-U has no decisions")
        decision = take_text(record, "final_decision", empty=Reason.ANSWER_EMPTY)
        if decision not in DECISIONS:
            raise Unusable(Reason.ANSWER_NOT_AN_OPTION, "field `final_decision` is not yes, no or maybe")
        return {
            "turns": (Turn(question, decision, context=context, options=DECISIONS),),
            "attributes": keep(
                answer_type="closed",
                long_answer=take_optional_text(record, "LONG_ANSWER"),
                meshes=join_texts(take_optional_texts(record, "MESHES")),
                year=take_optional_text(record, "YEAR"),
                reasoning_required_pred=_prediction(record, "reasoning_required_pred"),
                reasoning_free_pred=_prediction(record, "reasoning_free_pred"),
            ),
        }

    return represent(
        card,
        _stream_table(path) if is_table else stream_object(path),
        unit="row" if is_table else "PubMed id",
        raw=raw,
        path=path,
        identify=identify,
        build=build,
    )


def _stream_table(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a Parquet file in the first layout's form, with the PubMed id in `pubid`."""
    for key, row in stream_parquet(path, _COLUMNS):
        context = row.pop("context")
        fields = row | (context if isinstance(context, dict) else {})
        yield key, {(name.upper() if name in _CAPITALS else name): value for name, value in fields.items()}


def _context(record: Record) -> str:
    """The abstract's sections, one per line. Labels are added if each section has one."""
    texts = take_texts(record, "CONTEXTS")
    labels = take_optional_texts(record, "LABELS")
    if len(labels) != len(texts):
        return "\n".join(texts)
    return "\n".join(f"{label}: {text}" if label else text for label, text in zip(labels, texts, strict=True))


def _prediction(record: Record, name: str) -> str:
    """A prediction. Hugging Face stores it as a list of letters."""
    return "".join(take_optional_texts(record, name)) or take_optional_text(record, name)
