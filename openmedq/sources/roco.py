"""ROCO: 87,925 figures of open articles with their captions, 81,807 of them radiology (Pelka et al., 2018).

Layouts read; where several lie there, the first is read and the others are named in the log:

- ROCO as on GitHub: `data/{train,validation,test}/{radiology,non-radiology}/` with `captions.txt` (an id, a tab, the
  caption), `keywords.txt`, `cuis.txt`, `semtypes.txt`, `dlinks.txt`, `licences.txt`, and the pictures, which
  `scripts/fetch.py` gets from PubMed Central, in `images/`. `data/` may be called otherwise (`all_data/` in Kaggle's
  copy) or be left out. Where there is no `captions.txt`, Kaggle's `traindata.csv` (id, name, caption) is as good.
- ROCOv2 as on Zenodo (8333645): `{train,valid,test}_captions.csv` (ID, Caption) with `*_concepts.csv`,
  `*_concepts_manual.csv`, `license_information.csv` and `*_images.zip`, packed or not; radiology alone.

What is odd in ROCO's files, and in the miniature:

- A caption begins with a space.
- A caption may be one word ("CT."); in the miniature one is empty, hence rejected.
- A caption may go on in the next line, which has no id.
- Captions are repeated within a split, and one in eight is not ASCII.
- The second field of keywords, cuis and semtypes is always empty; some records have no concept at all.
- A record may lack in `licences.txt`; many have "NO-CC CODE", a licence without derivatives or for non-commercial use:
  each sample bears its own.
- Pictures are called by ROCO id (fetch.py since 2022) or `PMC<article>_<figure>.jpg` (before, and Kaggle's copy).
- Two in three articles of the test also train: `groups.article` says which.
- 86 pictures stand in radiology and in non-radiology, under two ids, in the same split or another.
- Pictures that can't be had any more: named but absent.
- A figure that PMC-OA publishes too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from openmedq.cards import Access, Card, File
from openmedq.cards.drawing import (
    Figure,
    draw,
    draw_figures,
    encode_jpeg,
    generator,
    shared_figure,
    tint,
    with_shared_figure,
)
from openmedq.cards.fields import Record, keep, take_optional_text
from openmedq.cards.licences import spell
from openmedq.errors import SourceError
from openmedq.formats import rocov2
from openmedq.formats.beside import Beside, open_lines_beside, open_table_beside
from openmedq.formats.captions import Described, read_captions, stream_captions
from openmedq.formats.tables import Row, stream_table
from openmedq.io.archives import open_pictures
from openmedq.schema import Rejected, Role, Sample, Task

SPLITS = ("train", "validation", "test")
SUBSETS = {"radiology": "radiology", "non-radiology": "mixed"}  # folder -> modality: drawings, photos, slides, ...
CONCEPTS = ("keywords", "cuis", "semtypes")
FILES = ("captions", *CONCEPTS, "dlinks", "licences")

_URL = "https://raw.githubusercontent.com/razorx89/roco-dataset/a1f0ad6c578ca8801e5a6eccc90af051aee1c326"

card = Card(
    id="roco",
    title="ROCO",
    homepage="https://github.com/razorx89/roco-dataset",
    citation="Pelka et al., Radiology Objects in COntext (ROCO): A Multimodal Image Dataset, LABELS 2018",
    licence="per picture: the Creative Commons licence of its article, or none",
    has_row_licences=True,
    access=Access.DEAD_WITH_MIRROR,  # the lists are open, the archives that they link to are moved or gone
    task=Task.CAPTION,
    modality="mixed",
    files=tuple(
        File(path=f"data/{split}/{subset}/{name}.txt", url=f"{_URL}/data/{split}/{subset}/{name}.txt")
        for split in SPLITS
        for subset in SUBSETS
        for name in FILES
    ),
    # The paper evaluates on other sets, so that the test is a second validation set; it never trains.
    roles={"train": Role.TRAIN, "validation": Role.VALIDATION, "test": Role.VALIDATION},
    published_rows={"train": 70_343, "validation": 8_791, "test": 8_791},  # radiology and non-radiology
)

_CSV = {"train": "traindata.csv", "validation": "valdata.csv", "test": "testdata.csv"}

_PICTURE = re.compile(r"(PMC\d+)_([^/\\]+)\.\w+")
_LINK = re.compile(r"(PMC\d+)\.tar\.gz")

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the pairs; SourceError where neither layout is there, or one of its files has another layout."""
    folders = [raw, *(folder for depth in ("*/", "*/*/", "*/*/*/") for folder in sorted(raw.glob(depth)))]
    first = [folder for folder in folders if _find_parts(folder)]
    second = [folder for folder in folders if rocov2.find_tables(folder)]
    if not first and not second:
        path = card.files[0].path
        raise SourceError(f"{raw}: no `{path}` or the like; expected it there, as published at {card.homepage}")
    used, *others = first + second
    for folder in others:
        _log.info("%s: not read: another copy or version of ROCO, %s is there", folder, used)
    if first:
        yield from _read_parts(raw, used)
    else:
        yield from rocov2.read_tables(raw, used, card)


def _find_parts(folder: Path) -> list[tuple[str, str, list[Path]]]:
    """Split, subset and lists of captions of each folder of ROCO that has one; the first list is to be read."""
    parts = []
    for split in SPLITS:
        for subset in SUBSETS:
            part = folder / split / subset
            places = (part / "captions.txt", part / _CSV[split], part.parent / f"{subset}{_CSV[split]}")
            if paths := [path for path in places if path.is_file()]:
                parts.append((split, subset, paths))
    return parts


def _read_parts(raw: Path, folder: Path) -> Iterator[Sample | Rejected]:
    seen: set[str] = set()  # 88,000 ids
    for split, subset, (path, *others) in _find_parts(folder):
        for other in others:
            _log.info("%s: not read: the same captions as %s, which is there", other, path.name)
        part = folder / split / subset
        with ExitStack() as stack:
            pictures = stack.enter_context(open_pictures(part, "images", "images.zip", "."))
            beside = {
                name: stack.enter_context(open_lines_beside(part / f"{name}.txt")) for name in (*CONCEPTS, "dlinks")
            }
            licences = stack.enter_context(open_table_beside(part / "licences.txt", "ROCO_ID", "PMC_ID", "CC"))
            is_table = path.suffix == ".csv"
            yield from read_captions(
                stream_table(path, ("id", "name", "caption")) if is_table else stream_captions(path, "ROCO_"),
                source=card.id,
                split=split,
                modality=SUBSETS[subset],
                raw=raw,
                path=path,
                fields=("id", "caption"),
                pictures=pictures,
                describe=_describe(subset, beside, licences),
                seen=seen,
            )


def _describe(subset: str, beside: dict[str, Beside[str]], licences: Beside[Row]) -> Callable[[Record, str], Described]:
    def describe(record: Record, record_id: str) -> Described:
        lines = {name: file.find(record_id) or "" for name, file in beside.items()}
        fields = {**record, **lines, **(licences.find(record_id) or {})}
        link, _, figure = take_optional_text(fields, "dlinks").rpartition("\t")
        article = _LINK.search(link)
        names = (take_optional_text(fields, "PMC_ID"), take_optional_text(fields, "name"))
        matches = map(_PICTURE.fullmatch, (*names, f"{article[1]}_{figure}" if article else ""))
        known = next(filter(None, matches), None)
        return Described(
            names=(*([known[0]] if known else []), f"{record_id}.jpg"),
            licence=spell(take_optional_text(fields, "CC")) or card.licence,
            article=known[1] if known else "",
            attributes=keep(
                subset=subset,
                figure=known[2] if known else "",
                **{name: _join(take_optional_text(fields, name).split("\t")) for name in CONCEPTS},
            ),
        )

    return describe


def _join(values: list[str]) -> str:
    return "; ".join(filter(None, map(str.strip, values)))


# The miniature --------------------------------------------------------------------------------------------------------

_NUM_RECORDS = {
    ("train", "radiology"): 90,
    ("train", "non-radiology"): 10,
    ("validation", "radiology"): 18,
    ("validation", "non-radiology"): 4,
    ("test", "radiology"): 18,
    ("test", "non-radiology"): 4,
}
_FIRST_IDS = {"radiology": 1, "non-radiology": 81_826}
_LICENCES = ("CC BY", "CC BY-NC-SA", "CC BY", "CC BY-NC", "NO-CC CODE", "CC BY", "CC BY-NC-ND", "CC BY-ND", "CC0")
_CONCEPTS = {  # word of a caption -> CUI, semantic type
    "head": ("C0018670", "T029\tBody Location or Region"),
    "chest": ("C0817096", "T029\tBody Location or Region"),
    "abdomen": ("C0000726", "T029\tBody Location or Region"),
    "mass": ("C0577559", "T033\tFinding"),
    "clips": ("C0175722", "T074\tMedical Device"),
}


@dataclass(slots=True)
class _Record:
    number: int
    article: str
    name: str
    caption: str
    licence: str
    picture: bytes


def miniature(raw: Path, seed: int = 0) -> None:
    """Write ROCO as on GitHub: 145 records on a round of pictures, with what is odd among the first of each folder."""
    random = generator(seed, card.id)
    figures = with_shared_figure(draw_figures(seed, card.id, num_rounds=1), seed)
    figures.sort(key=lambda figure: figure != shared_figure(seed))
    articles = [f"PMC{number}" for number in random.choice(np.arange(1_000_000, 6_000_000), 90, replace=False)]
    ids = {subset: iter(first + random.permutation(6_000)) for subset, first in _FIRST_IDS.items()}

    records = {}
    for (split, subset), num_records in _NUM_RECORDS.items():
        numbers = sorted(int(next(ids[subset])) for _ in range(num_records))
        part = [_record(figures.pop(0), number, subset) for number in numbers]
        for index, record in enumerate(part):  # a third of the articles outside of train are new
            is_new = split != "train" and index % 3 == 0
            record.article = articles.pop() if is_new else articles[int(random.integers(40))]
            record.name = f"{record.article}_{record.name}"
        records[split, subset] = part

    train, validation = records["train", "radiology"], records["validation", "radiology"]
    train[3].caption, train[4].caption, validation[2].caption = "CT.", "", "OPG"
    train[7].caption = train[6].caption
    train[9].caption = train[9].caption.replace("; ", ";\n")
    train[12].picture = b""
    train[14].licence = ""
    twin = records["test", "non-radiology"][-1]
    records["test", "non-radiology"].append(replace(train[5], number=twin.number + 1))

    for (split, subset), part in records.items():
        _write(raw / "data" / split / subset, part, is_called_by_id=subset == "radiology")


def _record(figure: Figure, number: int, subset: str) -> _Record:
    size, level = "large" if figure.is_large else "small", "bright" if figure.is_bright else "dark"
    diameter = "" if number % 8 else f", Ø {28 if figure.is_large else 13} mm,"
    view = "Radiograph" if subset == "radiology" else "Photograph"
    caption = (
        f"{view} of the {figure.organ} showing a {size} mass{diameter} in the {figure.position}; {level} background, "
        f"clips: {figure.num_clips}."
    )
    pixels = draw(figure)
    picture = encode_jpeg(pixels) if subset == "radiology" else encode_jpeg(tint(pixels, (1.0, 0.8, 0.7)), mode="RGB")
    return _Record(number, "", f"fig-{number % 40}-g{number}.jpg", caption, _LICENCES[number % len(_LICENCES)], picture)


def _write(folder: Path, records: list[_Record], *, is_called_by_id: bool) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = {name: [] for name in FILES}
    lines["licences"].append("ROCO_ID,PMC_ID,CC")
    for record in records:
        record_id = f"ROCO_{record.number:05}"
        words = [word.strip(".,:;").lower() for word in record.caption.split()]
        concepts = [_CONCEPTS[word] for word in words if word in _CONCEPTS]
        package = f"ftp://ftp.ncbi.nlm.nih.gov/pub/pmc/oa_package/{record.number % 256:02x}/0a/{record.article}.tar.gz"
        lines["captions"].append(f"{record_id}\t {record.caption}")
        lines["keywords"].append("\t".join([record_id, "", *(word for word in words if len(word) > 3)]))
        lines["cuis"].append("\t".join([record_id, "", *(cui for cui, _ in concepts)]))
        lines["semtypes"].append("\t".join([record_id, "", *dict.fromkeys(kind for _, kind in concepts)]))
        lines["dlinks"].append(f"{record_id}\twget -r {package} -P /path/to/Dir\t{record.name.split('_')[1]}")
        if record.licence:
            lines["licences"].append(f"{record_id},{record.name},{record.licence}")
        if record.picture:
            (folder / "images" / (f"{record_id}.jpg" if is_called_by_id else record.name)).write_bytes(record.picture)
    for name, rows in lines.items():
        (folder / f"{name}.txt").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
