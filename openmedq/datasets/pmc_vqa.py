"""PMC-VQA: multiple-choice questions on figures of PubMed Central's open articles (Zhang et al., 2023).

Layout read, as published on Hugging Face, in the folder or up to two below it: version 1 is `train.csv`, `test.csv`,
`test_clean.csv` (Figure_path, Question, Answer, Choice A ... Choice D, Answer_label) and `images.zip`; version 2 is
`train_2.csv`, `test_2.csv` (index, Figure_path, Caption, Question, Choice A ... Choice D, Answer, split) and
`images_2.zip`. Version 1 is read where its train or test is there, version 2 otherwise; the log names what is not
read. Pictures are found by file name in the zip, which is read in place, or in a folder that it was unpacked to.
A split that is absent is named in the log. Where `oa_comm_use_file_list.csv` (496 MB; or PMC's `oa_file_list.csv`) is
there, each question has the licence of the article that its picture is from, and the card's where the article is not
listed.

What is odd in the published files, and in the miniature:

- Options carry their letter and stray spaces (` A:Axial `); it goes where all of a row's options carry their own.
- The answer is the option of Answer_label. Where the text in Answer says something else, the label wins, as in the
  publishers' own scoring, and the text is kept as an attribute.
- An option may be empty: it is no option, unless it is the answer (rejected).
- `Answer` is spelled `Anwser` in some copies, and files are called `train2.csv` and `images2.zip` in the README.
- Version 2 has no Answer_label: Answer is the letter. Its caption gives the answer away: an attribute.
- Rows of `test_clean.csv` are rows of `test.csv`: read once, with the attribute `is_clean`. A row of it that is not
  in `test.csv`, or that comes without it, is read as a row of the test.
- Several questions on one picture; compound figures in version 1; texts with commas, quotes and line breaks.
- A picture that is named but absent; a picture that PMC-OA publishes too.
- Articles of several licences, some without derivatives; an article that is not listed any more.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from openmedq.datasets.card import Access, Card, Edition, File
from openmedq.datasets.fields import Record, Unusable, keep, represent, take_optional_text, take_text
from openmedq.datasets.readers import find_below, places_near, warn_absent
from openmedq.datasets.readers.pmc_licences import ARTICLES, ArticleLicences, read_article_licences
from openmedq.datasets.readers.tables import Row, stream_rows, stream_table, take_header
from openmedq.errors import SourceError
from openmedq.schema import Groups, Provenance, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.lookup import Pictures, open_pictures

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
    licence="CC-BY-SA",  # the publisher names no version; articles are of the commercial-use subset (CC0, CC BY)
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
    editions={
        "v2": Edition(
            files=(
                *(
                    File(path=name, url=f"{_URL}/{name}", size_bytes=size_bytes, sha256=sha256)
                    for name, (size_bytes, sha256) in _SECOND.items()
                ),
                ARTICLES,
            )
        )
    },
    roles={"train": Role.TRAIN, "test": Role.EVALUATION},
    # of version 1: 226,948 pairs (paper), 50,000 of them in the test. Version 2 has 152,603 and 33,430.
    published_rows={"train": 176_948, "test": 50_000},
)

LETTERS = "ABCD"
CHOICES = tuple(f"Choice {letter}" for letter in LETTERS)
_COLUMNS = ("Figure_path", "Question", *CHOICES, "Answer", "Answer_label", "Caption", "index", "split")
_NEEDED = _COLUMNS[:6]

_FILES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "1": {"train": ("train.csv",), "test": ("test.csv",), "clean": ("test_clean.csv",)},
    "2": {"train": ("train_2.csv", "train2.csv"), "test": ("test_2.csv", "test2.csv")},
}
_PLACES = {
    "1": ("images.zip", "images", "figures"),
    "2": ("images_2.zip", "images2.zip", "images_2", "images2", "figures"),
}

_PREFIXES = tuple(re.compile(rf"\(?{letter}\s*[:.)]\s*") for letter in LETTERS)
_PREFIX = re.compile(r"\(?[A-D]\s*[:.)]\s*")
_LABEL = re.compile(r"\(?([A-D])\)?[:.]?")
_NAME = {"1": re.compile(r"(PMC\d+)(?:_(.+))?"), "2": re.compile(r"(PMC\d+)(?:_(.+?)(?:_\d+)?)?")}

Rows = Iterator[tuple[str, Row | Unusable]]
_Key = tuple[str, ...]

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions of the splits that are there; SourceError where none is, or a column lacks."""
    version, found = _choose_version(raw)
    train, test, clean = (found.get(part) for part in ("train", "test", "clean"))
    for split, path in (("train", train), ("test", test or clean)):
        if not path:
            warn_absent(card.id, _FILES[version][split][0], split)
    # Memory grows with the rows of the clean test: 2,000 keys.
    keys = {_key(row) for _, row in _stream(clean) if isinstance(row, dict)} if clean else set()
    met: set[_Key] = set()
    places = places_near(raw, next(iter(found.values())), *_PLACES[version])
    licences = read_article_licences(raw)
    with open_pictures(raw, *places) as pictures:
        read_file = partial(_read_file, raw, version, pictures, licences)
        if train:
            yield from read_file(train, "train", _stream(train))
        if test:
            yield from read_file(test, "test", _mark(_stream(test), keys, met))
        if clean and (not test or keys - met):
            # Beside the test, a damaged row says nothing: what it stands for is in the test, only not marked.
            known = frozenset(met)
            rest = (
                (number, row)
                for number, row in _stream(clean)
                if not test or (isinstance(row, dict) and _key(row) not in known)
            )
            yield from read_file(clean, "test", _mark(rest, keys, met))


def _choose_version(raw: Path) -> tuple[str, dict[str, Path]]:
    """The version to read and its files by what they hold; what else is there is named in the log."""
    paths: dict[str, dict[str, list[Path]]] = {}
    for version, files in _FILES.items():
        paths[version] = {}
        for part, names in files.items():
            if there := [path for path in find_below(raw, *names) if path.is_file()]:
                paths[version][part] = there
    version = "2" if paths["2"] and not {"train", "test"} & set(paths["1"]) else "1"
    if not paths[version]:
        published = f"expected one of them there, as published at {card.homepage}"
        raise SourceError(f"{raw}: no `train.csv`, `test.csv` or `train_2.csv`; {published}")
    for other, parts in paths.items():
        for found in parts.values():
            for path in found if other != version else found[1:]:
                _log.info("%s: not read: %s is", path, found[0] if other == version else f"version {version}")
    return version, {part: found[0] for part, found in paths[version].items()}


def _stream(path: Path) -> Rows:
    """The rows, each with its number from 1, by the columns' names as published, however they are spelled."""
    header = take_header(stream_rows(path))
    published = {_fold(name): name for name in _COLUMNS} | {"": "index", "unnamed: 0": "index"}
    names = {name.strip(): published.get(_fold(name), name.strip()) for name in header}
    needed = [*_NEEDED] if "Answer_label" in names.values() else [*_NEEDED, "Answer"]
    spelled = {name: spelling for spelling, name in names.items()}
    rows = stream_table(path, [spelled.get(name, name) for name in needed])
    for number, (_, row) in enumerate(rows, start=1):
        yield str(number), {names[name]: text for name, text in row.items()} if isinstance(row, dict) else row


def _fold(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("anwser", "answer")


def _key(row: Row) -> _Key:
    """What makes two rows the same question: all but the words of the answer."""
    return tuple(row.get(name, "").strip() for name in (*_NEEDED, "Answer_label"))


def _mark(rows: Rows, keys: set[_Key], met: set[_Key]) -> Rows:
    """The rows, those whose keys are in `keys` marked as of the clean test; these keys are added to `met`."""
    for number, row in rows:
        if isinstance(row, dict) and keys and (key := _key(row)) in keys:
            met.add(key)
            yield number, row | {"is_clean": "yes"}
        else:
            yield number, row


def _read_file(
    raw: Path, version: str, pictures: Pictures, licences: ArticleLicences, path: Path, split: str, rows: Rows
) -> Iterator[Sample | Rejected]:
    def identify(number: str, record: Record) -> tuple[str, str]:
        # Files are published by split; a row that says it is of the test never trains.
        return f"{path.stem}-{number}", "test" if take_optional_text(record, "split") == "test" else split

    def build(record: Record, sample_id: str, split: str, provenance: Provenance) -> Sample:
        question = take_text(record, "Question", empty=Reason.QUESTION_EMPTY)
        options, answer, said = _take_answer(record)
        name = take_text(record, "Figure_path")
        picture = pictures.find(name)
        if picture is None:
            raise Unusable(Reason.IMAGE_MISSING, f"no file {name} {pictures.where}")
        match = _NAME[version].fullmatch(PurePosixPath(picture.image_id).stem)
        article, figure = match.groups() if match else (None, None)
        return Sample(
            id=sample_id,
            source=card.id,
            split=split,
            task=card.task,
            modality=card.modality,
            licence=licences.find(article) or card.licence,
            provenance=provenance,
            turns=(Turn(question, answer, options=options),),
            images=(picture,),
            groups=Groups(article=article),
            attributes=keep(
                version=version,
                figure=figure or "",
                answer=said,
                caption=take_optional_text(record, "Caption"),
                index=take_optional_text(record, "index"),
                is_clean=take_optional_text(record, "is_clean"),
            ),
        )

    return represent(rows, source=card.id, unit="row", raw=raw, path=path, identify=identify, build=build, seen=None)


def _take_answer(record: Record) -> tuple[tuple[str, ...], str, str]:
    """The options that hold text, the one that is the answer, and the text in Answer where it is another."""
    texts = [_take_any(record, name) for name in CHOICES]
    matches = [prefix.match(text) for prefix, text in zip(_PREFIXES, texts, strict=True)]
    if all(match or not text for match, text in zip(matches, texts, strict=True)):
        texts = [text[match.end() :] if match else text for match, text in zip(matches, texts, strict=True)]
    said, label = _take_any(record, "Answer"), _take_any(record, "Answer_label")
    if not (said or label):
        raise Unusable(Reason.ANSWER_EMPTY, "fields `Answer` and `Answer_label` are empty")
    letter = _LABEL.fullmatch(label) or _LABEL.fullmatch(said)
    if letter:
        index = LETTERS.index(letter[1])
    else:
        same = [number for number, text in enumerate(texts) if text and _loosen(text) == _loosen(said)]
        if len(same) != 1:
            raise Unusable(Reason.ANSWER_NOT_AN_OPTION, "neither `Answer_label` nor `Answer` names one of the choices")
        index = same[0]
    answer = texts[index]
    if not answer:
        raise Unusable(Reason.ANSWER_EMPTY, f"field `{CHOICES[index]}`, the answer, is empty")
    is_same = _loosen(said) == _loosen(answer) or (letter is not None and said.strip("(): .") == letter[1])
    return tuple(text for text in texts if text), answer, "" if is_same else said


def _take_any(record: Record, name: str) -> str:
    """The text of a column, which may be empty or absent; Unusable where it is not UTF-8."""
    return take_text(record, name) if record.get(name, "").strip() else ""


def _loosen(text: str) -> str:
    """A text without its letter, case, and the punctuation at its end."""
    return _PREFIX.sub("", text, count=1).casefold().strip(" .;,") or text.casefold()
