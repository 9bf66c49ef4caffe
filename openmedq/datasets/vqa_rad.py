"""VQA-RAD: clinicians' questions about radiology images from MedPix (Lau et al., 2018).

Source: https://osf.io/89kps/

Layouts, in the raw folder or up to two folders below it. The first one that is present is read; the log names the
others.

1. OSF: `VQA_RAD Dataset Public.json`, a list of 2,248 records, and 315 JPEG images in `VQA_RAD Image Folder/` or its
   zip. Names may have underscores instead of spaces.
2. `data_RAD/trainset.json` and `testset.json`, one or both, which are derived from OSF's file and whose training split
   adds 1,267 framed questions.
3. Hugging Face, `flaviagiammarino/vqa-rad`: `data/{train,test}-*.parquet` with the columns image, question and answer,
   1,793 and 451 rows, without duplicates. It has no question ids, image names or links between paraphrases, so a
   sample id consists of split and row number, and the bytes identify an image.

Known irregularities of the published file, which the miniature reproduces:

- `phrase_type` is the split: freeform and para are train, test_freeform and test_para are test.
- The split is by question, not by image: 202 of the 203 test images are also training images. In the miniature most
  test images are new, so that a model can be tested on unseen images.
- Some answers are integers. The first `qid` is text, the others are numbers.
- `question_rephrase` is absent in two records and "NULL" in others.
- Some questions and answers occur twice for one image with two ids, in one case across train and test.
"""

from collections.abc import Iterator
from pathlib import Path

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import (
    Content,
    Record,
    Unusable,
    find_image,
    keep,
    represent,
    take_optional_text,
    take_text,
)
from openmedq.datasets.readers import find_files_below, list_files, not_found, places_near, use_first, warn_absent
from openmedq.datasets.readers.hub_shards import find_shards, read_shards
from openmedq.datasets.readers.json_stream import stream_list
from openmedq.schema import Groups, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.lookup import ImageLookup, open_images

QUESTIONS = "VQA_RAD Dataset Public.json"
IMAGES = "VQA_RAD Image Folder"

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
            path=f"{IMAGES}.zip",
            url="https://files.osf.io/v1/resources/89kps/providers/osfstorage/5b21453986d8510011c277bc/?zip=",
            is_stable=False,
            about_bytes=15_000_000,
        ),
    ),
    roles={"train": Role.TRAIN, "test": Role.EVALUATION},
    published_rows={"train": 1797, "test": 451},
)

_SPLITS = {"freeform": "train", "para": "train", "test_freeform": "test", "test_para": "test"}
_PLACES = tuple(name + suffix for suffix in ("", ".zip") for name in (IMAGES, IMAGES.replace(" ", "_"), "images"))
_ATTRIBUTES = (
    "phrase_type",
    "image_organ",
    "question_type",
    "evaluation",
    "question_rephrase",
    "question_relation",
    "question_frame",
)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions. SourceError if no layout is present or a file is truncated."""
    original = find_files_below(raw, QUESTIONS, QUESTIONS.replace(" ", "_"))
    derived = {split: path for split in card.roles for path in find_files_below(raw, f"{split}set.json")[:1]}
    shards = find_shards(list_files(raw), card.roles)
    if not (original or derived or shards):
        raise not_found(card, raw, f"`{QUESTIONS}`")
    use_first([*original, *list(derived.values())[:1], *(paths[0] for paths in list(shards.values())[:1])])
    files = {"": original[0]} if original else derived
    if not files:
        yield from read_shards(card, raw, shards)
        return
    for split in card.roles:
        if not original and split not in derived:
            warn_absent(card.id, f"{split}set.json", split)
    seen: dict[str, str] = {}
    with open_images(raw, *places_near(raw, next(iter(files.values())), *_PLACES)) as images:
        for split, path in files.items():
            yield from _read_file(raw, path, split, images, seen)


def _read_file(
    raw: Path, path: Path, split: str, images: ImageLookup, seen: dict[str, str]
) -> Iterator[Sample | Rejected]:
    """The records of one file. `split` is "" if `phrase_type` decides the split."""

    def identify(_: str, record: Record) -> tuple[str, str]:
        question_id = take_text(record, "qid", is_number_allowed=True)
        phrase_type = take_text(record, "phrase_type")
        if not split and phrase_type not in _SPLITS:
            raise Unusable(Reason.FIELD_MISSING, "field `phrase_type` is not one of " + ", ".join(_SPLITS))
        return question_id, split or _SPLITS[phrase_type]

    def build(record: Record, split: str) -> Content:
        question = take_text(record, "question", empty=Reason.QUESTION_EMPTY)
        answer = take_text(record, "answer", empty=Reason.ANSWER_EMPTY, is_number_allowed=True)
        image = find_image(images, take_text(record, "image_name"))
        attributes = {attribute: take_optional_text(record, attribute) for attribute in _ATTRIBUTES}
        answer_type = take_optional_text(record, "answer_type").lower()
        return {
            "turns": (Turn(question, answer),),
            "images": (image,),
            "groups": Groups(
                case=take_optional_text(record, "image_case_url") or None,
                question=take_optional_text(record, "qid_linked_id") or None,
            ),
            "attributes": keep(answer_type=answer_type, **attributes),
        }

    return represent(card, stream_list(path), raw=raw, path=path, identify=identify, build=build, seen=seen)
