"""The layout that MedFMC's chest, colon and endo datasets share (Wang et al., Scientific Data 2023; MedFM 2023).

Images are in folders or zips. Two kinds of files state their labels:

- Lists of https://github.com/openmedlab/MedFM,
  `data_backup/MedFMC/<task>/{trainval,test_WithLabel,test_WithoutLabel}.txt`, or beside the images as in its README,
  `data/MedFMC/<task>/`. A line is a file name and its labels. The lists define the splits.
- Tables: figshare's `<title>/<table>` with the labels of all images (https://doi.org/10.6084/m9.figshare.c.6476047.v1),
  or else the challenge's `MedFMC_train/<task>/<task>_train.csv` and `MedFMC_val/<task>/<task>_val.csv`, the latter with
  empty labels. They provide the labels of test_WithoutLabel. Images in no list, or all images if there are no lists,
  get the split `unlisted`.

`train_20.txt`, `val_20.txt` and the few-shot lists repeat parts of trainval.txt and are not read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, cast

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import Content, Record, Unusable, find_image, represent, take_text, to_line
from openmedq.datasets.readers import warn_absent
from openmedq.datasets.readers.tables import stream_lines, stream_table
from openmedq.errors import SourceError
from openmedq.schema import Groups, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.archives import MemberPath, open_members
from openmedq.storage.folders import find_all
from openmedq.storage.lookup import ChainedImages, ImageLookup, open_images

SPLITS = ("trainval", "test_WithLabel", "test_WithoutLabel")
UNLISTED = "unlisted"
HOMEPAGE = "https://doi.org/10.6084/m9.figshare.c.6476047.v1"
_CITATION = (
    "Wang et al., A real-world dataset and benchmark for foundation model adaptation in medical image classification, "
    "Scientific Data 2023"
)

_LISTS_URL = "https://raw.githubusercontent.com/openmedlab/MedFM/e846f5f5328a914e4136351bcb015b940a43f511"
_ARTICLES_URL = "https://api.figshare.com/v2/collections/6476047/articles"

_ROOTS = ("", "MedFMC", "data", "data/MedFMC", "MedFM", "MedFM/data/MedFMC", "MedFM-main", "MedFM-main/data/MedFMC")
_LINE = re.compile(r"(.+?\.(?:png|jpe?g|bmp|tiff?))(?:\s+(.*))?", re.IGNORECASE)  # names may contain spaces
_VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Layout:
    """What differs between the tasks."""

    task: str  # name in the folders and lists of the challenge
    table: str  # name on figshare, in a folder with the title of the card
    keys: tuple[str, ...]  # columns of the tables before the labels
    columns: tuple[str, ...]  # label columns: one per class, or a single one with the class number
    to_groups: Callable[[str], Groups]  # by image name
    lists: Mapping[str, tuple[int, str]]  # by split: size in bytes and sha256 in openmedlab/MedFM


def make_card(
    *, id: str, title: str, modality: str, layout: Layout, num_rows: tuple[int, int, int], classes: tuple[str, ...]
) -> Card:
    """Return the card of one task; `num_rows` are those of SPLITS."""
    lists = {f"data_backup/MedFMC/{layout.task}/{split}.txt": layout.lists[split] for split in SPLITS}
    challenge = (f"MedFMC_{part}/{layout.task}/{layout.task}_{part}.csv" for part in ("train", "val"))
    return Card(
        id=id,
        kind="benchmark",
        title=title,
        aliases=("openmedlab/MedFM", "MedFMC2023", "6476047"),
        collection="MedFMC",
        homepage=HOMEPAGE,
        citation=_CITATION,
        licence="CC-BY-4.0",
        access=Access.OPEN,
        task=Task.CLASSIFICATION,
        modality=modality,
        files=(
            *(
                File(path=path, url=f"{_LISTS_URL}/{path}", size_bytes=size_bytes, sha256=sha256)
                for path, (size_bytes, sha256) in lists.items()
            ),
            # The names of figshare's files are unknown: the only zip of the article whose title starts with `title`.
            File(path=f"{title}.zip", url=f"{_ARTICLES_URL}#{title}/*.zip"),
        ),
        other_paths=(f"{title}/{layout.table}", *challenge),
        roles=dict.fromkeys((*SPLITS, UNLISTED), Role.EVALUATION),
        published_rows={**dict(zip(SPLITS, num_rows, strict=True)), UNLISTED: 0},
        classes=classes,
        is_multi_label=len(layout.columns) > 1,
        fitted=("trainval",),
        scored=("test_WithLabel",),
    )


def read(raw: Path, card: Card, layout: Layout) -> Iterator[Sample | Rejected]:
    """Stream the images of one task; SourceError if there is neither a list nor a table of it."""
    lists, tables = _find_lists(raw, card, layout), _find_tables(raw, card, layout)
    if not lists and not tables:
        expected = f"data_backup/MedFMC/{layout.task}/trainval.txt"
        raise SourceError(f"{raw}: no list as `{expected}`, no table as `{card.title}/{layout.table}`; see {HOMEPAGE}")

    for split in SPLITS if lists else ():
        if split not in dict(lists):
            warn_absent(card.id, f"data_backup/MedFMC/{layout.task}/{split}.txt", split)
    # Labels by image name; a dataset has at most ten thousand images.
    published = dict(_labels_of(tables, layout)) if lists else {}
    seen: set[str] = set()
    with ExitStack() as stack:
        places = [stack.enter_context(open_images(raw, name)) for name in _find_places(raw, card, layout)]
        reader = _Reader(raw, card, layout, ChainedImages(places), seen)
        for split, path in lists:
            yield from reader.represent(_lines_of(path, published, layout), path, split)
        for path, table in tables:
            records = _rows_of(table, layout)
            if lists:  # skip images that are in the lists
                left = [item for item in records if "problem" not in item[1] and item[1]["img_id"] not in seen]
                if not left:
                    continue
                records = iter(left)
            yield from reader.represent(records, path, UNLISTED)


@dataclass(frozen=True, slots=True)
class _Reader:
    raw: Path
    card: Card
    layout: Layout
    images: ImageLookup
    seen: set[str]

    def represent(self, records: Iterable[tuple[str, Any]], path: Path, split: str) -> Iterator[Sample | Rejected]:
        def identify(key: str, record: Record) -> tuple[str, str]:
            name = record.get("img_id", "")
            is_id = name and to_line(name) == name
            if name and name in self.seen:  # also across lists, because the id is the image name
                raise Unusable(Reason.ID_REPEATED, f"an earlier record has the id {to_line(name)} too")
            self.seen.add(name)
            return name if is_id else f"{path.stem}-line-{key}", split

        return represent(
            self.card,
            records,
            unit="line",
            raw=self.raw,
            path=path,
            identify=identify,
            build=self._build,
            seen=None,
        )

    def _build(self, record: Record, split: str) -> Content:
        if "problem" in record:
            raise record["problem"]
        name = take_text(record, "img_id")
        is_hidden = split in ("test_WithoutLabel", UNLISTED)
        values = take_text(
            record, "labels", empty=Reason.ANSWER_WITHHELD if is_hidden else Reason.FIELD_MISSING
        ).replace(",", " ")
        labels = self._to_labels(values.split())
        image = find_image(self.images, name)
        return {
            "turns": (Turn("", ", ".join(labels)),),
            "images": (image,),
            "groups": self.layout.to_groups(name),
            "labels": labels,
        }

    def _to_labels(self, values: Sequence[str]) -> tuple[str, ...]:
        if len(values) != len(self.layout.columns):
            detail = f"the record has {len(values)} labels; expected {len(self.layout.columns)}"
            raise Unusable(Reason.FIELD_MISSING, detail)
        if not all(value in _VALUES for value in values):
            raise Unusable(Reason.ANSWER_NOT_AN_OPTION, "a label is neither 0 nor 1")
        numbers = [_VALUES[value] for value in values]
        if self.card.is_multi_label:
            return tuple(label for label, number in zip(self.card.classes, numbers, strict=True) if number)
        return (self.card.classes[numbers[0]],)


def _lines_of(path: Path, published: dict[str, str], layout: Layout) -> Iterator[tuple[str, Any]]:
    is_cut = not path.read_bytes().endswith(b"\n")
    for (number, line), (_, next_line) in pairwise(chain(stream_lines(path), [("", "")])):
        match = _LINE.fullmatch(line.strip())
        num_labels = len((match[2] or "").replace(",", " ").split()) if match else 0
        if is_cut and not next_line and (not match or num_labels not in (0, len(layout.columns))):
            yield number, {"problem": Unusable(Reason.FILE_TRUNCATED, "the file ends within the line; get it again")}
        elif match is None:
            yield number, {"problem": Unusable(Reason.FIELD_MISSING, "the line names no image")}
        else:
            yield number, {"img_id": match[1], "labels": match[2] or published.get(match[1], "")}


def _rows_of(table: Path, layout: Layout) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in stream_table(table, ("img_id", *layout.columns)):
        if isinstance(row, Unusable):
            yield number, {"problem": row}
        else:
            labels = " ".join(row[column].strip() for column in layout.columns).strip()
            yield number, {"img_id": row["img_id"].strip(), "labels": labels}


def _labels_of(tables: Iterable[tuple[Path, Path]], layout: Layout) -> Iterator[tuple[str, str]]:
    for _, table in tables:
        for _, record in _rows_of(table, layout):
            if record.get("labels"):
                yield record["img_id"], record["labels"]


def _find_lists(raw: Path, card: Card, layout: Layout) -> list[tuple[str, Path]]:
    """Find the lists to read, with their splits, all in one folder, because versions of the lists split differently."""
    names = (f"data_backup/MedFMC/{layout.task}", f"MedFMC_train/{layout.task}", layout.task, card.title, "")
    whole: list[tuple[str, Path]] = []
    for folder in (raw / root / name for root in _ROOTS for name in names):
        found = [(split, path) for split in SPLITS if (path := folder / f"{split}.txt").is_file()]
        if found and whole:
            _log.info("%s: lists not read: those of %s are used", folder, whole[0][1].parent)
        whole = whole or found
    return whole


def _find_tables(raw: Path, card: Card, layout: Layout) -> list[tuple[Path, Path]]:
    """Find the tables to read: the file that contains each, and the table itself, which may be a member of a zip."""
    archives = [raw / name for name in _find_archives(raw, card, layout)]

    def find(name: str, *folders: str) -> list[tuple[Path, Path]]:
        paths = [raw / root / folder / name for root in _ROOTS for folder in folders]
        return ([(path, path) for path in paths if path.is_file()] or list(_find_members(archives, name)))[:1]

    published = find(layout.table, card.title, "MedFMC_trainval_annotation", layout.task, "")
    challenge = [
        table
        for part in ("train", "val")
        for table in find(f"{layout.task}_{part}.csv", f"MedFMC_{part}/{layout.task}", layout.task, "")
    ]
    for _, table in challenge if published else ():
        _log.info("%s: not read: %s, which has the labels of all images, is used", table, published[0][1])
    return published or challenge


def _find_members(archives: Iterable[Path], name: str) -> Iterator[tuple[Path, Path]]:
    for path in archives:
        with open_members(path) as members:
            if member := members.find(name):
                yield path, cast(Path, MemberPath(path, member))  # has the same `open`


def _find_places(raw: Path, card: Card, layout: Layout) -> list[str]:
    """Find the folders and zips that may contain images, relative to `raw`."""
    names = (*(f"MedFMC_{part}/{layout.task}" for part in ("train", "val", "test")), layout.task, card.title)
    folders = [f"{root}/{name}".lstrip("/") for root in _ROOTS for name in (*names, "images", "image")]
    return [name for name in folders if (raw / name).is_dir()] + _find_archives(raw, card, layout)


def _find_archives(raw: Path, card: Card, layout: Layout) -> list[str]:
    words = ("medfmc", layout.task, card.title.casefold())
    paths = [path for root in _ROOTS for path in find_all(raw / root, "*.zip")]
    return [path.relative_to(raw).as_posix() for path in paths if any(word in path.name.casefold() for word in words)]
