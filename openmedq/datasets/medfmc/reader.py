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

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from openmedq.datasets.card import Access, Card, File, pinned
from openmedq.datasets.fields import Content, Record, Unusable, find_image, represent, take_text, to_line
from openmedq.datasets.readers import Place, find_places, list_files, use_first, warn_absent
from openmedq.datasets.readers.tables import stream_lines, stream_table
from openmedq.errors import SourceError, numbered
from openmedq.schema import Groups, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.archives import MemberPath
from openmedq.storage.folders import walk
from openmedq.storage.lookup import ImageLookup, open_images

SPLITS = ("trainval", "test_WithLabel", "test_WithoutLabel")
UNLISTED = "unlisted"
HOMEPAGE = "https://doi.org/10.6084/m9.figshare.c.6476047.v1"
_CITATION = (
    "Wang et al., A real-world dataset and benchmark for foundation model adaptation in medical image classification, "
    "Scientific Data 2023"
)

_LISTS_URL = "https://raw.githubusercontent.com/openmedlab/MedFM/e846f5f5328a914e4136351bcb015b940a43f511"
_ARTICLES_URL = "https://api.figshare.com/v2/collections/6476047/articles"

_LINE = re.compile(r"(.+?\.(?:png|jpe?g|bmp|tiff?))(?:\s+(.*))?", re.IGNORECASE)  # names may contain spaces
_VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Layout:
    """What differs between the tasks."""

    task: str  # name in the folders and lists of the challenge
    table: str  # name on figshare, in a folder with the title of the card
    columns: tuple[str, ...]  # label columns: one per class, or a single one with the class number
    to_groups: Callable[[str], Groups]  # by image name


def define(
    *,
    task: str,
    title: str,
    table: str,
    modality: str,
    lists: Mapping[str, tuple[int, str, int]],
    classes: tuple[str, ...],
    class_names: Mapping[str, str] | None = None,
    columns: tuple[str, ...] | None = None,
    to_groups: Callable[[str], Groups] = lambda _: Groups(),
) -> tuple[Layout, Card, Callable[[Path], Iterator[Sample | Rejected]]]:
    """Return the layout, the card and the `read` of one task.

    `lists` are those of openmedlab/MedFM by split: size in bytes, sha256 and number of rows. The label columns are the
    classes by default.
    """
    layout = Layout(task, table, columns or classes, to_groups)
    pins = {f"data_backup/MedFMC/{task}/{split}.txt": lists[split][:2] for split in SPLITS}
    challenge = (f"MedFMC_{part}/{task}/{task}_{part}.csv" for part in ("train", "val"))
    beside_images = (f"{folder}{task}/trainval.txt" for folder in ("data/MedFMC/", "MedFMC/", ""))
    card = Card(
        id=f"medfmc_{task}",
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
            *pinned(_LISTS_URL, pins),
            # The names of figshare's files are unknown: the only zip of the article whose title starts with `title`.
            File(path=f"{title}.zip", url=f"{_ARTICLES_URL}#{title}/*.zip"),
        ),
        other_paths=(f"{title}/{table}", *challenge, *beside_images),
        roles=dict.fromkeys((*SPLITS, UNLISTED), Role.EVALUATION),
        published_rows={split: lists[split][2] for split in SPLITS} | {UNLISTED: 0},
        classes=classes,
        class_names=class_names or {},
        is_multi_label=len(layout.columns) > 1,
        fitted=("trainval",),
        scored=("test_WithLabel",),
    )
    return layout, card, partial(_read, card, layout)


def _read(card: Card, layout: Layout, raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the images of one task; SourceError if there is neither a list nor a table of it."""
    lists = _find_lists(raw, card, layout)
    table = find_places(raw, layout.table, is_optional=bool(lists)).get(layout.table)
    if not lists and not table:
        expected = f"data_backup/MedFMC/{layout.task}/trainval.txt"
        raise SourceError(
            f"{raw}: neither a list, such as `{expected}`, nor the table `{card.title}/{layout.table}`; put one there, "
            f"from {HOMEPAGE}"
        )
    rows = list(_rows_of(table, layout)) if table else []  # a dataset has at most ten thousand
    published = {row["img_id"]: row["labels"] for _, row in rows if isinstance(row, dict)}
    seen: set[str] = set()

    def identify(split: str, key: str, record: Record) -> tuple[str, str]:
        name = record["img_id"]
        if name in seen:  # also across lists, because the id is the image name
            raise Unusable(Reason.ID_REPEATED, f"an earlier record has the id {to_line(name)} too")
        seen.add(name)
        return name if to_line(name) == name else f"{split}-line-{key}", split

    zips = [path.relative_to(raw).as_posix() for path in list_files(raw) if path.suffix.lower() == ".zip"]
    with open_images(raw, ".", *zips) as images:
        build = partial(_build, card, layout, images)
        for split in SPLITS:
            if file := lists.get(split):
                records = _lines_of(file, published)
                named = partial(identify, split)
                yield from represent(card, records, raw=raw, path=file, identify=named, build=build, unit="line")
            else:
                warn_absent(card.id, f"data_backup/MedFMC/{layout.task}/{split}.txt", split)
        if lists:  # skip images that are in the lists
            if odd := [row for _, row in rows if isinstance(row, Unusable)]:
                _log.warning("%s: %s not read: %s", table, numbered(len(odd), "row"), odd[-1].detail)
            rows = [(key, row) for key, row in rows if isinstance(row, dict) and row["img_id"] not in seen]
        if table and (rows or not lists):
            file = table.archive if isinstance(table, MemberPath) else table
            named = partial(identify, UNLISTED)
            yield from represent(card, rows, raw=raw, path=file, identify=named, build=build, unit="line")


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


def _lines_of(path: Path, published: Mapping[str, str]) -> Iterator[tuple[str, Record | Unusable]]:
    for number, line in stream_lines(path):
        if match := _LINE.fullmatch(line.strip()):
            yield number, {"img_id": match[1], "labels": match[2] or published.get(match[1], "")}
        else:
            yield number, Unusable(Reason.FIELD_MISSING, "the line names no image")


def _rows_of(table: Place, layout: Layout) -> Iterator[tuple[str, Record | Unusable]]:
    for number, row in stream_table(table, ("img_id", *layout.columns)):
        if isinstance(row, dict):
            labels = " ".join(row[column].strip() for column in layout.columns).strip()
            yield number, {"img_id": row["img_id"].strip(), "labels": labels}
        else:
            yield number, row


def _find_lists(raw: Path, card: Card, layout: Layout) -> dict[str, Path]:
    """Find the lists to read by split, all in one folder, because versions of the lists split differently."""
    found: dict[Path, dict[str, Path]] = {}
    for folder, _, files in walk(raw):
        lists = {split: folder / f"{split}.txt" for split in SPLITS if f"{split}.txt" in files}
        if lists and (folder == raw or folder.name in (layout.task, card.title)):
            found[folder] = lists
    # The published folder first.
    return found[use_first(sorted(found, key=lambda folder: "data_backup" not in folder.parts))] if found else {}
