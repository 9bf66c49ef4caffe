"""PathVQA: questions about pathology images from two textbooks and the PEIR library (He et al., 2020).

Source: https://huggingface.co/datasets/flaviagiammarino/path-vqa

Layouts, in any subfolder. If both are present, the first is read and the log names the files that are not read.

1. Hugging Face (19,654 + 6,259 + 6,719 rows): `data/{train,validation,test}-*.parquet` in 7, 3 and 3 shards, with the
   columns image {bytes, path}, question and answer. The hub's conversion, `default/<split>/0000.parquet`, is also read.
2. The original release (32,795 rows), `pvqa/` or `split/`, unpacked or as zip or tar: `qas/<split>/<split>_qa.pkl`, a
   list of {image, question, answer}, or `qas/<split>_vqa.pkl`, a list of {img_id, sent, label, question_id, ...}, with
   the images in `images/<split>/<image>.jpg`. The splits are train, val and test. If both kinds of pickle are present,
   `_qa.pkl` is read. Pickles are parsed without executing any code. `QA-pairs.json` is not read, because its image
   names follow another numbering.

A sample id consists of the split and the row's number in the split, starting at 1.

Known irregularities of the published files, which the miniature reproduces:

- Three test splits are in use: the paper's and one for each layout.
- `path` may be empty and is not unique, so the bytes identify an image.
- The questions about one image are spread over several shards, and each row repeats the image.
- Images are JPEG in CMYK (inverted, with the Adobe marker), RGB or grayscale. Some PNG images have a .jpg name.
- Half of the answers are yes or no.
- Rules generated the questions, in lower case. Some have extra spaces, a capital letter or "??".
- The original release repeats 163 rows within their split: same image, question and answer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import Record, Unusable, keep, take_optional_text, take_text
from openmedq.datasets.pathvqa.plain_pickle import load_pickle, read_pickle
from openmedq.datasets.readers import warn_absent
from openmedq.datasets.readers.hub_shards import choose_copies, find_shards
from openmedq.datasets.readers.visual_questions import Fields, read_numbered, read_shards, take_turn
from openmedq.errors import SourceError
from openmedq.schema import Image, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.archives import Members, open_members
from openmedq.storage.lookup import ImageLookup, open_images, open_spare
from openmedq.storage.origin import find_files

_HUB = "https://huggingface.co/datasets/flaviagiammarino/path-vqa"
_COMMIT = "1685832883334b5bb5beaf4e4b333fdeecaa4ad9"
SHARDS = {  # name -> sha256, if known
    "train-00000-of-00007-f2d0e9ef9f022d38": None,
    "train-00001-of-00007-47d8e0220bf6c933": None,
    "train-00002-of-00007-7fb5037c4c5da7be": None,
    "train-00003-of-00007-74b9b7b81cc55f90": None,
    "train-00004-of-00007-77eea90af4a55dce": None,
    "train-00005-of-00007-5332ec423be520bd": None,
    "train-00006-of-00007-637a58c700b604af": None,
    "validation-00000-of-00003-90a5518d26493b67": None,
    "validation-00001-of-00003-cbfe947a3418595c": None,
    "validation-00002-of-00003-9ec816895bd3bc20": None,
    "test-00000-of-00003-e9adadb4799f44d3": "533175be08e87b9ccf2fc06e2f82e58bb2e9bf2299a4a138cf5311f1d26ac157",
    "test-00001-of-00003-7ea98873fc919813": "84bde926245c4b136de6ef48b197a0f3f177b3fbcb03b7f3cbfcfcb212f20c50",
    "test-00002-of-00003-1628308435019820": "ae676f41a7ddfc85be8503a731c719e1608da37ddc981de42a10dd2d55a8ee87",
}

card = Card(
    id="pathvqa",
    title="PathVQA",
    aliases=("flaviagiammarino/path-vqa", "UCSD-AI4H/PathVQA", "KaveeshaSilva/PathVQA", "pvqa"),
    homepage=_HUB,
    citation="He et al., PathVQA: 30000+ Questions for Medical Visual Question Answering, 2020",
    licence="MIT by the tag of this copy; its pictures and captions belong to the textbooks' publishers and to PEIR",
    access=Access.OPEN,
    task=Task.VQA,
    modality="pathology",
    files=tuple(
        File(path=f"data/{name}.parquet", url=f"{_HUB}/resolve/{_COMMIT}/data/{name}.parquet", sha256=sha256)
        for name, sha256 in SHARDS.items()
    ),
    about_bytes=785_000_000,
    roles={"train": Role.TRAIN, "validation": Role.VALIDATION, "test": Role.EVALUATION},
    published_rows={"train": 19_654, "validation": 6_259, "test": 6_719},
)

_ADVICE = f"use the Parquet files of {_HUB}"
_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}  # by word in file names
_PICKLE = re.compile(rf"({'|'.join(_SPLITS)})_(v?qa)\.pkl")
_ARCHIVES = (".zip", ".tar")
_PLACES = ("images/{}", "images/{}.zip", "images/{}.tar", "images", "images.zip", "images.tar")

_log = logging.getLogger(__name__)


class _Pickle(NamedTuple):
    """The questions of a split in the original release."""

    name: str  # of the file, below the raw folder or in `archive`
    root: PurePosixPath  # folder that contains `qas` and `images`
    word: str  # train, val, test
    kind: str  # qa, vqa
    archive: Path | None = None


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions. SourceError if neither layout is present, or a file is truncated, damaged or unsafe."""
    files = [path for path, _ in find_files(raw)] if raw.is_dir() else []
    shards = find_shards(files, _SPLITS)
    unpacked = _find_pickles(path.relative_to(raw).as_posix() for path in files)
    pickles = {} if shards else unpacked
    if not shards and not set(card.roles) <= set(unpacked):
        pickles = _find_packed(files, open_spare if unpacked else open_members) | unpacked
    if not shards and not pickles:
        raise SourceError(f"{raw}: no `data/train-*.parquet`; expected the files of {card.homepage}")
    for path in files:
        if path.name == "QA-pairs.json":
            _log.info("%s: not read, because its image names follow another numbering", path)
    for found in unpacked.values() if shards else ():
        _log.info("%s: not read, because the Parquet files are present", raw / found.name)
    for split in card.roles:
        if split in shards:
            yield from read_shards(card, raw, split, shards[split])
        elif split in pickles:
            yield from _read_pickle(raw, split, pickles[split], files)
        else:
            warn_absent(card.id, f"data/{split}-*.parquet", split)


def _find_pickles(names: Iterable[str], archive: Path | None = None) -> dict[str, _Pickle]:
    """The pickles of questions by split, recognized by their names."""
    paths = map(PurePosixPath, names)
    matches = sorted((match[2], path, match[1]) for path in paths if (match := _PICKLE.fullmatch(path.name)))
    folders: dict[PurePath, dict[str, _Pickle]] = {}
    for kind, path, word in matches:  # `qa` before `vqa`
        root = path.parent
        for folder in (word, "qas"):
            root = root.parent if root.name == folder else root
        found = _Pickle(path.as_posix(), root, word, kind, archive)
        if folders.setdefault(root, {}).setdefault(_SPLITS[word], found) is not found:
            _log.info("%s: not read, because `_qa.pkl` is present", path)
    return choose_copies(folders)


def _find_packed(
    files: Iterable[Path], open_archive: Callable[[Path], AbstractContextManager[Members | None]]
) -> dict[str, _Pickle]:
    """The pickles of the first archive that contains any."""
    for path in files:
        if path.suffix in _ARCHIVES:
            with open_archive(path) as members:
                if members and (pickles := _find_pickles(members.names, path)):
                    return pickles
    return {}


def _read_pickle(raw: Path, split: str, found: _Pickle, files: Iterable[Path]) -> Iterator[Sample | Rejected]:
    """Read one pickle. Its texts (2 MB) are in memory, because a pickle cannot be read in parts."""
    places = [str(root / place.format(found.word)) for root in (found.root, PurePosixPath()) for place in _PLACES]
    path, unit = raw / found.name, "record"
    if found.archive is None:
        records = read_pickle(path, _ADVICE)
    else:
        path, unit = found.archive, f"{found.name} record"
        with open_members(path) as members:
            records = load_pickle(members.read(found.name), f"{path}: {found.name}", _ADVICE)
            if any("images/" in name for name in members.names):
                places = [path.relative_to(raw).as_posix()]
    places += [path.relative_to(raw).as_posix() for path in files if path.suffix in _ARCHIVES]  # for missing images
    if not isinstance(records, list):
        raise SourceError(f"{path}: `{found.name}` is not a list of records; {_ADVICE}")
    numbered = ((str(number), record) for number, record in enumerate(records, start=1))

    with open_images(raw, *places) as images:

        def take(record: Record) -> Fields:
            turn = take_turn(record) if found.kind == "qa" else _take_labeled_turn(record)
            name = take_text(record, "image" if found.kind == "qa" else "img_id")
            attributes = keep(
                question_id=take_optional_text(record, "question_id"),
                question_type=take_optional_text(record, "question_type"),
                published_answer_type=take_optional_text(record, "answer_type"),  # yes/no, number, other
            )
            return Fields(turn, _find_image(images, found, name), attributes)

        yield from read_numbered(card, raw, path, split, numbered, unit, take)


def _find_image(images: ImageLookup, found: _Pickle, name: str) -> Image:
    folder = found.root / "images" / found.word
    for ending in (".jpg", "", ".png", ".jpeg"):
        if image := images.find(f"{folder}/{name}{ending}"):
            return replace(image, image_id=f"{found.word}/{image.image_id}")
    raise Unusable(Reason.IMAGE_MISSING, f"no file {folder}/{name}.jpg {images.where}")


def _take_labeled_turn(record: Record) -> Turn:
    """The question and its answers {answer: score}, the highest score first."""
    question = take_text(record, "sent", empty=Reason.QUESTION_EMPTY)
    label = record.get("label")
    if not isinstance(label, dict):
        raise Unusable(Reason.FIELD_MISSING, "field `label` is not a table of answers")
    ranked = sorted(label.items(), key=lambda item: -item[1] if isinstance(item[1], int | float) else 0)
    if not ranked:
        raise Unusable(Reason.ANSWER_EMPTY, "field `label` contains no answer")
    answer, *others = (
        take_text({"label": text}, "label", empty=Reason.ANSWER_EMPTY, is_number_allowed=True) for text, _ in ranked
    )
    return Turn(question, answer, alternatives=tuple(others))
