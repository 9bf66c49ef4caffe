"""SLAKE: physicians' questions in English and Chinese about CT, MRI and X-ray images (Liu et al., ISBI 2021).

Source: https://huggingface.co/datasets/BoKelvin/SLAKE

Layout, in the raw folder or up to two folders below it (the project's own archive unpacks to `Slake1.0/`):
`train.json`, `validation.json` (`validate.json` in the project's archive) and `test.json`, each a JSON list, and
`imgs.zip`, which is read in place, or `imgs/`. Not read: `KG.zip`, `mask.txt`, and files beside the images.

If there are none, and the setting `languages` includes English, the copy of the English questions as Parquet is read
(https://huggingface.co/datasets/mdwiratathya/SLAKE-vqa-english): `data/{train,validation,test}-*.parquet` with the
columns image, question and answer. It has no question ids and no image names, so a sample id consists of split and row
number.

Known irregularities of the published files, which the miniature reproduces:

- Half of the rows are in Chinese. They are rejected and counted unless the setting `languages` includes them.
- Every image is called `source.jpg`, so images are identified by folder and name.
- One training row has no answer. Some questions occur twice for one image, with two ids.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from openmedq.datasets.card import Access, Card, pinned
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
from openmedq.datasets.readers import find_below, find_files_below, list_files, not_found, use_first, warn_absent
from openmedq.datasets.readers.hub_shards import find_shards, read_shards
from openmedq.datasets.readers.json_stream import stream_list
from openmedq.datasets.readers.whole_paths import WholePaths
from openmedq.schema import Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.archives import open_members
from openmedq.storage.lookup import open_spare

card = Card(
    id="slake",
    title="SLAKE",
    aliases=("BoKelvin/SLAKE", "Slake1.0", "mdwiratathya/SLAKE-vqa-english"),
    homepage="https://huggingface.co/datasets/BoKelvin/SLAKE",
    citation="Liu et al., SLAKE: A Semantically-Labeled Knowledge-Enhanced Dataset for Medical VQA, ISBI 2021",
    licence="CC-BY-4.0",
    access=Access.OPEN,
    task=Task.VQA,
    modality="mixed",
    files=pinned(
        "https://huggingface.co/datasets/BoKelvin/SLAKE/resolve/a9083ce6c34ac3ffb17671a605962924d8a8f9e9",
        {
            "train.json": (2_964_571, "7a9fb81f9d7bb145c3d7e9bc8d3b9016ba18b6539ea5031a53bae8fd3cd991c3"),
            "validation.json": (639_139, "32b016440b0c3be11056a78a18eeab46333268407fbb6e6b32f9f4c2debc50f6"),
            "test.json": (635_829, "6be8f7b4c5a46cdbc713a5210a25b6ed5aa1fd1574c83cefb4f998131f17c2c3"),
            "imgs.zip": (212_343_373, "44eb7d9214e1ac5b7946e237b669401866df9114fd9a3618c5a84fbffcded0b0"),
        },
    ),
    roles={"train": Role.TRAIN, "validation": Role.VALIDATION, "test": Role.EVALUATION},
    published_rows={"train": 9835, "validation": 2099, "test": 2094},
)

_MODALITY = "radiology"  # "mixed" on the card, as in the paper, but all images are CT, MRI or X-ray
_FILES = {"train": ("train.json",), "validation": ("validation.json", "validate.json"), "test": ("test.json",)}
_REQUIRED = ("img_name", "question", "answer", "q_lang")
_ATTRIBUTES = ("location", "modality", "content_type", "base_type", "img_id")


def read(raw: Path, languages: tuple[str, ...] = ("en",)) -> Iterator[Sample | Rejected]:
    """Stream the questions. SourceError if no split is present or a file is truncated."""
    found = {split: paths for split, names in _FILES.items() if (paths := find_files_below(raw, *names))}
    if not found:
        if "en" in languages and (shards := find_shards(list_files(raw), card.roles)):
            for row in read_shards(card, raw, shards):
                yield row if isinstance(row, Rejected) else replace(row, modality=_MODALITY)
            return
        raise not_found(card, raw, "`train.json`")
    seen: dict[str, str] = {}  # published ids are unique over all splits
    with _open_images(raw) as images:
        for split, names in _FILES.items():
            if split in found:
                yield from _read_file(raw, use_first(found[split]), split, images, languages, seen)
            else:
                warn_absent(card.id, names[0], split)


@contextmanager
def _open_images(raw: Path) -> Iterator[WholePaths]:
    """Images from `imgs/` and, for images that are not unpacked, from `imgs.zip`."""
    folders = tuple(folder for place in find_below(raw, "imgs/") for folder in (place, place / "imgs"))
    archives = find_files_below(raw, "imgs.zip")
    open_archive = open_spare if folders else open_members
    with open_archive(archives[0]) if archives else nullcontext() as members:
        yield WholePaths(members, "xmlab", folders)


def _read_file(
    raw: Path, path: Path, split: str, images: WholePaths, languages: tuple[str, ...], seen: dict[str, str]
) -> Iterator[Sample | Rejected]:
    def identify(_: str, record: Record) -> tuple[str, str]:
        return take_text(record, "qid", is_number_allowed=True), split

    def build(record: Record, split: str) -> Content:
        for name in _REQUIRED:  # checked before the language, so that a renamed field is an error in all rows
            if name not in record:
                raise Unusable(Reason.FIELD_MISSING, f"no field `{name}`")
        language = take_text(record, "q_lang")
        if language not in languages:
            raise Unusable(Reason.LANGUAGE_EXCLUDED, "field `q_lang` is not one of " + ", ".join(languages))
        question = take_text(record, "question", empty=Reason.QUESTION_EMPTY)
        answer = take_text(record, "answer", empty=Reason.ANSWER_EMPTY, is_number_allowed=True)
        image = find_image(images, take_text(record, "img_name"))
        answer_type = take_optional_text(record, "answer_type").lower()
        return {
            "modality": _MODALITY,
            "turns": (Turn(question, answer),),
            "images": (image,),
            "attributes": keep(
                answer_type=answer_type if answer_type in ("open", "closed") else "",
                language=language,
                triple=_join_triple(record),
                **{attribute: take_optional_text(record, attribute) for attribute in _ATTRIBUTES},
            ),
        }

    return represent(card, stream_list(path), raw=raw, path=path, identify=identify, build=build, seen=seen)


def _join_triple(record: Record) -> str:
    """Head, relation and tail in the knowledge graph; `vhead; _; _` if the question does not need it."""
    parts = record.get("triple")
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        return ""
    return take_optional_text({"triple": "; ".join(parts)}, "triple")
