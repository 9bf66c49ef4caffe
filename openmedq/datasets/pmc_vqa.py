"""PMC-VQA: multiple-choice questions about figures from open articles in PubMed Central (Zhang et al., 2023).

Source: https://huggingface.co/datasets/RadGenome/PMC-VQA

Layout, in the raw folder or up to two folders below it. Version 1: `train.csv`, `test.csv` and `test_clean.csv`
(Figure_path, Question, Answer, Choice A ... Choice D, Answer_label) and `images.zip`. Version 2: `train_2.csv` and
`test_2.csv` (index, Figure_path, Caption, Question, Choice A ... Choice D, Answer, split) and `images_2.zip`. The first
version with a train or test file is read; the log names the files that are not read. Images are found by file name in
the zip, which is read in place, or in a folder. If `oa_comm_use_file_list.csv` (496 MB) is present, a sample gets the
license of its article, if that article is listed.

Known irregularities of the published files, which the miniature reproduces:

- Options start with their letter and have extra spaces (` A:Axial `). The letters are removed if all options of the row
  have their own letter.
- Answer_label decides which option is the answer, as in the publishers' own scoring. If the text in Answer differs, the
  attribute `answer` keeps it.
- An empty option is dropped. If it is the answer, the row is rejected.
- Version 2 has no Answer_label; its Answer is the letter. Its caption reveals the answer and is only an attribute.
- `test_clean.csv` repeats rows of `test.csv`, which get the attribute `is_clean`.
- Some listed images are missing. Some articles are no longer listed.
"""

import logging
import re
from collections.abc import Iterator, Set
from pathlib import Path, PurePosixPath

from openmedq.datasets.card import Access, Card, Edition, File, pinned
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
from openmedq.datasets.readers import find_files_below, not_found, places_near, use_first, warn_absent
from openmedq.datasets.readers.pmc_licences import ARTICLES, ArticleLicences, read_article_licences
from openmedq.datasets.readers.tables import Row, stream_rows, stream_table, take_header
from openmedq.schema import Groups, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.lookup import ImageLookup, open_images

_URL = "https://huggingface.co/datasets/RadGenome/PMC-VQA/resolve/b56ae594f794867893143b337b4118a835794647"

_SECOND = {
    "train_2.csv": (56_703_454, "15ead4a27b5365d1b5dc5faf1fd2246a6a5aa1ca5c2358a19532ff78c2870084"),
    "test_2.csv": (12_446_345, "d57d567f997955e7001ec4325323a2bca66d570070466291d5ec12882ff5ba09"),
    "images_2.zip": (2_206_255_503, "727643d0ae9182cb5572b43a74ed4100eb0920b1d83e55ed4054a393d672cb4a"),
}

card = Card(
    id="pmc_vqa",
    title="PMC-VQA",
    aliases=("RadGenome/PMC-VQA", "xmcmic/PMC-VQA", "xiaoman-zhang/PMC-VQA"),
    homepage="https://huggingface.co/datasets/RadGenome/PMC-VQA",
    citation="Zhang et al., PMC-VQA: Visual Instruction Tuning for Medical Visual Question Answering, arXiv 2305.10415",
    licence="CC-BY-SA",  # without a version; the articles are from the commercial-use subset (CC0, CC BY)
    has_row_licences=True,
    access=Access.OPEN,
    task=Task.MULTIPLE_CHOICE,
    modality="mixed",
    files=(
        File(path="train.csv", url=f"{_URL}/train.csv", about_bytes=38_100_000),
        File(path="test.csv", url=f"{_URL}/test.csv", about_bytes=10_700_000),
        File(
            path="test_clean.csv",
            url=f"{_URL}/test_clean.csv",
            size_bytes=418_686,
            md5="6abfbcd088171c76a98911c5e7a8f5a0",
        ),
        File(path="images.zip", url=f"{_URL}/images.zip", size_bytes=18_945_102_275),
        ARTICLES,
    ),
    editions={"v2": Edition(files=(*pinned(_URL, _SECOND), ARTICLES))},
    roles={"train": Role.TRAIN, "test": Role.EVALUATION},
    # Version 1: 226,948 pairs in the paper, 50,000 of them in the test split. Version 2 has 152,603 and 33,430.
    published_rows={"train": 176_948, "test": 50_000},
)

LETTERS = "ABCD"
CHOICES = tuple(f"Choice {letter}" for letter in LETTERS)
_NEEDED = ("Figure_path", "Question", *CHOICES)

_FILES = {  # by version: the parts, and the places of the images
    "1": {"train": "train.csv", "test": "test.csv", "clean": "test_clean.csv"},
    "2": {"train": "train_2.csv", "test": "test_2.csv"},
}
_PLACES = {"1": ("images", "figures", "images.zip"), "2": ("images_2", "figures", "images_2.zip")}

_PREFIXES = tuple(re.compile(rf"\(?{letter}\s*[:.)]\s*") for letter in LETTERS)
_PREFIX = re.compile(r"\(?[A-D]\s*[:.)]\s*")
_LABEL = re.compile(r"\(?([A-D])\)?[:.]?")
_NAME = {"1": re.compile(r"(PMC\d+)(?:_(.+))?"), "2": re.compile(r"(PMC\d+)(?:_(.+?)(?:_\d+)?)?")}

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions. SourceError if no split is present or a column is missing."""
    version, found = _choose_version(raw)
    clean = set()  # keys of the clean test, 2,000 as published
    if "clean" in found:
        clean = {_key(row) for _, row in _stream(found["clean"]) if isinstance(row, dict)}
    paths = {split: found[split] for split in card.roles if split in found}
    licences = read_article_licences(raw)
    with open_images(raw, *places_near(raw, next(iter(paths.values())), *_PLACES[version])) as images:
        for split in card.roles:
            if split in paths:
                yield from _read_file(raw, version, images, licences, clean, paths[split], split)
            else:
                warn_absent(card.id, _FILES[version][split], split)


def _choose_version(raw: Path) -> tuple[str, dict[str, Path]]:
    """The version to read and its files by part (train, test, clean). Logs the files that are not read."""
    present = {
        version: {part: use_first(paths) for part, name in files.items() if (paths := find_files_below(raw, name))}
        for version, files in _FILES.items()
    }
    version = next((each for each in _FILES if {"train", "test"} & present[each].keys()), "")
    if not version:
        raise not_found(card, raw, "`train.csv`, `test.csv` or `train_2.csv`")
    for other in present.keys() - {version}:
        for path in present[other].values():
            _log.info("%s: not read, because version %s is read", path, version)
    return version, present[version]


def _stream(path: Path) -> Iterator[tuple[str, Row | Unusable]]:
    """The rows, each with its number from 1."""
    header = take_header(stream_rows(path))
    needed = _NEEDED if "Answer_label" in header else (*_NEEDED, "Answer")
    for number, (_, row) in enumerate(stream_table(path, needed), start=1):
        yield str(number), row


def _key(row: Record) -> tuple[str, ...]:
    """The fields that identify a question: all of them except the text of the answer."""
    return tuple(row.get(name, "").strip() for name in (*_NEEDED, "Answer_label"))


def _read_file(
    raw: Path,
    version: str,
    images: ImageLookup,
    licences: ArticleLicences,
    clean: Set[tuple[str, ...]],
    path: Path,
    split: str,
) -> Iterator[Sample | Rejected]:
    def identify(number: str, record: Record) -> tuple[str, str]:
        # The file decides the split, but a row marked as test never becomes training data.
        return f"{path.stem}-{number}", "test" if take_optional_text(record, "split") == "test" else split

    def build(record: Record, split: str) -> Content:
        question = take_text(record, "Question", empty=Reason.QUESTION_EMPTY)
        options, answer, answer_text = _take_answer(record)
        image = find_image(images, take_text(record, "Figure_path"))
        match = _NAME[version].fullmatch(PurePosixPath(image.image_id).stem)
        article, figure = match.groups() if match else (None, None)
        return {
            "licence": licences.find(article) or card.licence,
            "turns": (Turn(question, answer, options=options),),
            "images": (image,),
            "groups": Groups(article=article),
            "attributes": keep(
                version=version,
                figure=figure or "",
                answer=answer_text,
                caption=take_optional_text(record, "Caption"),
                index=take_optional_text(record, "index"),
                is_clean="yes" if split == "test" and _key(record) in clean else "",
            ),
        }

    return represent(card, _stream(path), unit="row", raw=raw, path=path, identify=identify, build=build)


def _take_answer(record: Record) -> tuple[tuple[str, ...], str, str]:
    """The non-empty options, the option that is the answer, and the text in Answer if it differs from that option."""
    texts = [_take_any(record, name) for name in CHOICES]
    matches = [prefix.match(text) for prefix, text in zip(_PREFIXES, texts, strict=True)]
    if all(match or not text for match, text in zip(matches, texts, strict=True)):
        texts = [text[match.end() :] if match else text for match, text in zip(matches, texts, strict=True)]
    text, label = _take_any(record, "Answer"), _take_any(record, "Answer_label")
    if not (text or label):
        raise Unusable(Reason.ANSWER_EMPTY, "fields `Answer` and `Answer_label` are empty")
    letter = _LABEL.fullmatch(label) or _LABEL.fullmatch(text)
    if not letter:
        raise Unusable(Reason.ANSWER_NOT_AN_OPTION, "neither `Answer_label` nor `Answer` is the letter of an option")
    answer = texts[LETTERS.index(letter[1])]
    if not answer:
        raise Unusable(Reason.ANSWER_EMPTY, f"field `Choice {letter[1]}`, the answer, is empty")
    is_same = _loosen(text) == _loosen(answer) or text.strip("(): .") == letter[1]
    return tuple(filter(None, texts)), answer, "" if is_same else text


def _take_any(record: Record, name: str) -> str:
    """The text of a column, or "" if it is empty or absent. Unusable if it is not UTF-8."""
    return take_text(record, name) if record.get(name, "").strip() else ""


def _loosen(text: str) -> str:
    """Remove the letter, the case and the punctuation at the end."""
    return _PREFIX.sub("", text, count=1).casefold().strip(" .;,") or text.casefold()
