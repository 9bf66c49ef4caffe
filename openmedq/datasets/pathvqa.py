"""PathVQA: questions on pathology pictures from two textbooks and the PEIR library (He et al., 2020).

Layouts read, each as it is or a folder further down:

1. Hugging Face, `flaviagiammarino/path-vqa`: `data/{train,validation,test}-*.parquet` (7, 3 and 3 shards, read in
   order; also without `data/`, or converted as `default/<split>/0000.parquet`), columns image {bytes, path}, question,
   answer. 19,654, 6,259 and 6,719 rows: a third "PathVQA test" beside the paper's and that of the next.
2. The original release, `pvqa/` or `split/`, unpacked or as zip or tar: `qas/<split>/<split>_qa.pkl` (a list of
   {image, question, answer}) or `qas/<split>_vqa.pkl` (a list of {img_id, sent, label, question_id, ...}), and
   `images/<split>/<image>.jpg`; splits train, val and test (32,795 rows). The pickles are read without running them.

Where both are there, the first is read; of two kinds of pickles, `_qa`. What is not read is named in the log, so
`QA-pairs.json`, whose picture names are of another numbering. A sample is called by its split and its row's number in
it, from 1, counted over the shards that are there.

What is odd in the published files, and in the miniature:

- A picture is named by its bytes: `path` may be empty, and nothing says that it is one picture's alone.
- The questions on one picture are scattered over the shards, each row with the picture's bytes again.
- Pictures are JPEG in CMYK (with Adobe's marker, hence inverted), RGB and gray; here also PNG that is called .jpg.
- Half the answers are yes or no, so a score is mostly that of one word.
- Questions are in lower case, made by rule: here one with a capital, with spaces before and within, with "??".
- The same question and answer on the same picture twice within a split: 163 times in the original release.
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
from openmedq.datasets.readers import warn_absent
from openmedq.datasets.readers.hub_shards import choose_copies, find_shards
from openmedq.datasets.readers.plain_pickle import load_pickle, read_pickle
from openmedq.datasets.readers.visual_questions import Fields, read_numbered, read_shards, take_turn
from openmedq.errors import SourceError
from openmedq.schema import Image, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.archives import Members, open_members
from openmedq.storage.lookup import Pictures, open_pictures, open_spare
from openmedq.storage.origin import find_files

_HUB = "https://huggingface.co/datasets/flaviagiammarino/path-vqa"
_COMMIT = "1685832883334b5bb5beaf4e4b333fdeecaa4ad9"
SHARDS = {  # with the sha256 of those that are known of
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
_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
_PICKLE = re.compile(rf"({'|'.join(_SPLITS)})_(v?qa)\.pkl")
_PACKED = (".zip", ".tar")
_PLACES = ("images/{}", "images/{}.zip", "images/{}.tar", "images", "images.zip", "images.tar")

_log = logging.getLogger(__name__)


class _Pickle(NamedTuple):
    """The questions of a split in the original release."""

    name: str  # of the file below the raw folder, or in the archive
    root: PurePosixPath  # which holds `qas` and `images`
    word: str  # train, val, test
    kind: str  # qa, vqa


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions; SourceError where neither layout is there, or a file is cut, damaged or hostile."""
    files = [path for path, _ in find_files(raw)] if raw.is_dir() else []
    shards = find_shards(files, _SPLITS)
    pickles = _find_pickles(path.relative_to(raw).as_posix() for path in files)
    archive: Path | None = None
    packed: dict[str, _Pickle] = {}
    if not shards and not set(card.roles) <= set(pickles):
        archive, packed = _find_archive(files, open_spare if pickles else open_members)
    for path in files:
        if path.name == "QA-pairs.json":
            _log.info("%s: not read: its picture names are of another numbering", path)
    if not shards and not pickles and not packed:
        raise SourceError(f"{raw}: no `data/train-*.parquet`; expected it there, as published at {card.homepage}")
    for split in card.roles:
        if shards:
            yield from read_shards(card, raw, split, shards.get(split, []))
        if shards and split in pickles:
            _log.info("%s: not read: the Parquet files are there", raw / pickles[split].name)
        elif split in pickles:
            yield from _read_pickle(raw, split, pickles[split], None, files)
        elif split in packed:
            yield from _read_pickle(raw, split, packed[split], archive, files)
        if split not in shards and (shards or split not in (pickles | packed)):
            warn_absent(card.id, f"data/{split}-*.parquet", split)


def _find_pickles(names: Iterable[str]) -> dict[str, _Pickle]:
    """The pickles of questions by split, found by their names."""
    folders: dict[PurePath, dict[str, _Pickle]] = {}
    for path in map(PurePosixPath, sorted(names)):
        if match := _PICKLE.fullmatch(path.name):
            root = path.parent
            for above in (match[1], "qas"):
                root = root.parent if root.name == above else root
            pickles = folders.setdefault(root, {})
            found = _Pickle(path.as_posix(), root, match[1], match[2])
            other = pickles.setdefault(_SPLITS[match[1]], found)
            if other is not found:
                pickles[_SPLITS[match[1]]] = min(found, other, key=lambda each: each.kind)
                _log.info("%s: not read: `_qa.pkl` is there", max(found, other, key=lambda each: each.kind).name)
    return choose_copies(folders)


def _find_archive(
    files: Iterable[Path], open_archive: Callable[[Path], AbstractContextManager[Members | None]]
) -> tuple[Path | None, dict[str, _Pickle]]:
    """The first archive that holds pickles of questions."""
    for path in files:
        if path.suffix in _PACKED:
            with open_archive(path) as members:
                if members and (pickles := _find_pickles(members.names)):
                    return path, pickles
    return None, {}


def _read_pickle(
    raw: Path, split: str, found: _Pickle, archive: Path | None, files: Iterable[Path]
) -> Iterator[Sample | Rejected]:
    """The rows of a pickle, whose texts (2 MB) are in memory: it can't be read in part."""
    places = [str(root / place.format(found.word)) for root in (found.root, PurePosixPath()) for place in _PLACES]
    path, unit = raw / found.name, "record"
    if archive is None:
        records = read_pickle(path, _ADVICE)
    else:
        path, unit = archive, f"{found.name} record"
        with open_members(archive) as members:
            records = load_pickle(members.read(found.name), f"{archive}: {found.name}", _ADVICE)
            if any("images/" in name for name in members.names):
                places = [archive.relative_to(raw).as_posix()]
    places += [path.relative_to(raw).as_posix() for path in files if path.suffix in _PACKED]  # for what is not unpacked
    if not isinstance(records, list):
        raise SourceError(f"{path}: `{found.name}` is no list of records; {_ADVICE}")
    numbered = ((str(number), record) for number, record in enumerate(records, start=1))

    with open_pictures(raw, *places) as pictures:

        def take(record: Record) -> Fields:
            turn = take_turn(record) if found.kind == "qa" else _take_labelled_turn(record)
            name = take_text(record, "image" if found.kind == "qa" else "img_id")
            attributes = keep(
                question_id=take_optional_text(record, "question_id"),
                question_type=take_optional_text(record, "question_type"),
                published_answer_type=take_optional_text(record, "answer_type"),  # yes/no, number, other
            )
            return Fields(turn, _find_picture(pictures, found, name), attributes)

        yield from read_numbered(card, raw, path, split, numbered, unit, take)


def _find_picture(pictures: Pictures, found: _Pickle, name: str) -> Image:
    folder = found.root / "images" / found.word
    for ending in (".jpg", "", ".png", ".jpeg"):
        if picture := pictures.find(f"{folder}/{name}{ending}"):
            return replace(picture, image_id=f"{found.word}/{picture.image_id}")
    raise Unusable(Reason.IMAGE_MISSING, f"no file {folder}/{name}.jpg {pictures.where}")


def _take_labelled_turn(record: Record) -> Turn:
    """The question and its answers {answer: score}, the best first."""
    question = take_text(record, "sent", empty=Reason.QUESTION_EMPTY)
    label = record.get("label")
    if not isinstance(label, dict):
        raise Unusable(Reason.FIELD_MISSING, "field `label` is no table of answers")
    ranked = sorted(label.items(), key=lambda item: -item[1] if isinstance(item[1], int | float) else 0)
    if not ranked:
        raise Unusable(Reason.ANSWER_EMPTY, "field `label` holds no answer")
    answer, *others = (
        take_text({"label": text}, "label", empty=Reason.ANSWER_EMPTY, is_number_allowed=True) for text, _ in ranked
    )
    return Turn(question, answer, alternatives=tuple(others))
