"""The layout that MedFMC's chest, colon and endo datasets share (Wang et al., Scientific Data 2023; MedFM 2023).

Images are in folders or zips. Two kinds of files state their labels:

- Lists of https://github.com/openmedlab/MedFM,
  `data_backup/MedFMC/<task>/{trainval,test_WithLabel,test_WithoutLabel}.txt`, or beside the images as in its README,
  `data/MedFMC/<task>/`. A line is a file name and its labels. The lists define the splits.
- figshare's `<title>/<table>` with the labels of all images (https://doi.org/10.6084/m9.figshare.c.6476047.v1), also of
  test_WithoutLabel. Images in no list, or all images if there are no lists, get the split `unlisted`.

The challenge's tables beside the images, `train_20.txt`, `val_20.txt` and the few-shot lists have no further labels and
are not read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

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
    *,
    id: str,
    title: str,
    modality: str,
    layout: Layout,
    num_rows: tuple[int, int, int],
    classes: tuple[str, ...],
    class_names: Mapping[str, str] | None = None,
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
        class_names=class_names or {},
        is_multi_label=len(layout.columns) > 1,
        fitted=("trainval",),
        scored=("test_WithLabel",),
    )


def make_reader(card: Card, layout: Layout) -> Callable[[Path], Iterator[Sample | Rejected]]:
    """Return the `read` of a task's module."""
    return lambda raw: _read(raw, card, layout)


def _read(raw: Path, card: Card, layout: Layout) -> Iterator[Sample | Rejected]:
    """Stream the images of one task; SourceError if there is neither a list nor a table of it."""
    lists = _find_lists(raw, card, layout)
    path, table = _find_table(raw, card, layout)
    if not lists and not path:
        expected = f"data_backup/MedFMC/{layout.task}/trainval.txt"
        raise SourceError(f"{raw}: no list as `{expected}`, no table as `{card.title}/{layout.table}`; see {HOMEPAGE}")
    for split in SPLITS if lists else ():
        if split not in dict(lists):
            warn_absent(card.id, f"data_backup/MedFMC/{layout.task}/{split}.txt", split)
    rows = list(_rows_of(table, layout)) if table else []  # a dataset has at most ten thousand
    published = {row["img_id"]: row["labels"] for _, row in rows if isinstance(row, dict)}
    seen: set[str] = set()

    def identify(split: str, key: str, record: Record) -> tuple[str, str]:
        name = record["img_id"]
        if name in seen:  # also across lists, because the id is the image name
            raise Unusable(Reason.ID_REPEATED, f"an earlier record has the id {to_line(name)} too")
        seen.add(name)
        return name if to_line(name) == name else f"{split}-line-{key}", split

    with ExitStack() as stack:
        places = [stack.enter_context(open_images(raw, name)) for name in _find_places(raw, card, layout)]
        build = partial(_build, card, layout, ChainedImages(places))

        def represent_all(split: str, file: Path, records: Iterable[tuple[str, Any]]) -> Iterator[Sample | Rejected]:
            named = partial(identify, split)
            return represent(card, records, raw=raw, path=file, identify=named, build=build, unit="line")

        for split, file in lists:
            yield from represent_all(split, file, _lines_of(file, published, layout))
        if lists:  # skip images that are in the lists
            rows = [(key, row) for key, row in rows if isinstance(row, dict) and row["img_id"] not in seen]
        if path and (rows or not lists):
            yield from represent_all(UNLISTED, path, rows)


def _build(card: Card, layout: Layout, images: ImageLookup, record: Record, split: str) -> Content:
    name = take_text(record, "img_id")
    is_hidden = split in ("test_WithoutLabel", UNLISTED)
    text = take_text(record, "labels", empty=Reason.ANSWER_WITHHELD if is_hidden else Reason.FIELD_MISSING)
    values = text.replace(",", " ").split()
    if len(values) != len(layout.columns):
        detail = f"the record has {len(values)} labels; expected {len(layout.columns)}"
        raise Unusable(Reason.FIELD_MISSING, detail)
    if not all(value in _VALUES for value in values):
        raise Unusable(Reason.ANSWER_NOT_AN_OPTION, "a label is neither 0 nor 1")
    numbers = [_VALUES[value] for value in values]
    labels: tuple[str, ...] = (card.classes[numbers[0]],)
    if card.is_multi_label:
        labels = tuple(label for label, number in zip(card.classes, numbers, strict=True) if number)
    return {
        "turns": (Turn("", ", ".join(labels)),),
        "images": (find_image(images, name),),
        "groups": layout.to_groups(name),
        "labels": labels,
    }


def _lines_of(path: Path, published: Mapping[str, str], layout: Layout) -> Iterator[tuple[str, Record | Unusable]]:
    is_cut = not path.read_bytes().endswith(b"\n")
    for (number, line), (_, next_line) in pairwise(chain(stream_lines(path), [("", "")])):
        match = _LINE.fullmatch(line.strip())
        num_labels = len((match[2] or "").replace(",", " ").split()) if match else 0
        if is_cut and not next_line and (not match or num_labels not in (0, len(layout.columns))):
            yield number, Unusable(Reason.FILE_TRUNCATED, "the file ends within the line; get it again")
        elif match is None:
            yield number, Unusable(Reason.FIELD_MISSING, "the line names no image")
        else:
            yield number, {"img_id": match[1], "labels": match[2] or published.get(match[1], "")}


def _rows_of(table: Path | MemberPath, layout: Layout) -> Iterator[tuple[str, Record | Unusable]]:
    for number, row in stream_table(table, ("img_id", *layout.columns)):
        if isinstance(row, dict):
            labels = " ".join(row[column].strip() for column in layout.columns).strip()
            yield number, {"img_id": row["img_id"].strip(), "labels": labels}
        else:
            yield number, row


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


def _find_table(raw: Path, card: Card, layout: Layout) -> tuple[Path | None, Path | MemberPath | None]:
    """Find the table of figshare: the file that contains it, and the table itself, which may be a member of a zip."""
    for folder in (card.title, "MedFMC_trainval_annotation", layout.task, ""):
        for root in _ROOTS:
            if (path := raw / root / folder / layout.table).is_file():
                return path, path
    for path in (raw / name for name in _find_archives(raw, card, layout)):
        with open_members(path) as members:
            if member := members.find(layout.table):
                return path, MemberPath(path, member)
    return None, None


def _find_places(raw: Path, card: Card, layout: Layout) -> list[str]:
    """Find the folders and zips that may contain images, relative to `raw`."""
    names = (*(f"MedFMC_{part}/{layout.task}" for part in ("train", "val", "test")), layout.task, card.title)
    folders = [f"{root}/{name}".lstrip("/") for root in _ROOTS for name in (*names, "images", "image")]
    return [name for name in folders if (raw / name).is_dir()] + _find_archives(raw, card, layout)


def _find_archives(raw: Path, card: Card, layout: Layout) -> list[str]:
    words = ("medfmc", layout.task, card.title.casefold())
    paths = [path for root in _ROOTS for path in find_all(raw / root, "*.zip")]
    return [path.relative_to(raw).as_posix() for path in paths if any(word in path.name.casefold() for word in words)]
