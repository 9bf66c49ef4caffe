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

import logging
from collections.abc import Iterator
from pathlib import Path

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import Record, Unusable, keep, represent, take_optional_text, take_text
from openmedq.datasets.readers import find_below, places_near, warn_absent
from openmedq.datasets.readers.hub_shards import find_shards
from openmedq.datasets.readers.json_stream import stream_list
from openmedq.datasets.readers.visual_questions import read_shards
from openmedq.errors import SourceError
from openmedq.schema import Groups, Provenance, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.folders import find_all
from openmedq.storage.lookup import Pictures, open_pictures

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
