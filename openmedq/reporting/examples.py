"""Pick the predictions that the report and the demo show, with their images: of open sources only."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import PIL.Image
import pyarrow as pa
import pyarrow.compute as pc

from openmedq import paths
from openmedq.evaluation.metrics.answers import exact_match
from openmedq.schema import Sample, Turn
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_index, read_table

THUMBNAIL_PX = 240
MAX_CHARS = 280
MAX_IMAGES = 2  # of one row

Row = dict[str, Any]  # of predictions.parquet


@dataclass(frozen=True)
class Shown:
    """A record as the report shows it."""

    id: str
    title: str  # of the dataset
    question: str
    answer: str  # of the model in an `Example`, else of the record
    licence: str
    images: tuple[bytes, ...]  # JPEG files

    @property
    def image_uris(self) -> list[str]:
        """The images as data URIs."""
        return [f"data:image/jpeg;base64,{base64.b64encode(image).decode()}" for image in self.images]


@dataclass(frozen=True)
class Example(Shown):
    """A prediction as the report shows it."""

    reference: str
    is_right: bool
    record: str


def read_examples(titles: Mapping[str, str], most: int) -> list[Example]:
    """At most `most` predictions of the sources with these titles, as the report shows them."""
    return [_describe(row, sample, titles[row["source"]]) for row, sample in pick_predictions(titles, most)]


def pick_predictions(sources: Collection[str], most: int) -> list[tuple[Row, Sample]]:
    """At most `most` predictions with their samples: one source after the other, right and wrong ones alternating."""
    path = paths.EVALUATION / "predictions.parquet"
    if not most or not path.exists():
        return []
    table = read_table(path).sort_by("id")
    by_source = []
    for source in sorted(sources):
        rows = table.filter(pc.equal(table["source"], source)).to_pylist()
        parts = (_spread([row for row in rows if _is_right(row) == wanted]) for wanted in (True, False))
        by_source.append(list(in_turn(parts)))
    picked = list(in_turn(by_source))[:most]
    samples = _read_samples([row["id"] for row in picked])
    return [(row, samples[row["id"]]) for row in picked]


def _is_right(row: Row) -> bool:
    return bool(exact_match(row["answer"], [row["reference"], *row["alternatives"]]))


def in_turn(lists: Iterable[list[Row]]) -> Iterator[Row]:
    """One row of each list, then the next row of each, and so on."""
    return (row for rows in zip_longest(*lists) for row in rows if row is not None)


def _spread(rows: list[Row]) -> list[Row]:
    """Reorder with a stride: neighboring rows often ask the same about the same image."""
    stride = max(1, round(len(rows) ** 0.5))
    return [row for start in range(stride) for row in rows[start::stride]]


def _read_samples(ids: list[str]) -> dict[str, Sample]:
    index = read_index()
    rows = index.filter(pc.is_in(index["id"], pa.array(ids, pa.string())))
    return {sample.id: sample for sample in ShardStore(paths.SAMPLES).take(rows)}


def _describe(row: Row, sample: Sample, title: str) -> Example:
    place = sample.provenance
    return Example(
        **vars(show(sample, title)) | {"answer": shorten(row["answer"])},
        reference=shorten(row["reference"]),
        is_right=_is_right(row),
        record=f"{place.file}, {place.record}",
    )


def show(sample: Sample, title: str) -> Shown:
    """The last question and answer of a sample, or its labels, and its images."""
    turn = sample.turns[-1] if sample.turns else Turn("", ", ".join(sample.labels))
    return Shown(
        id=sample.id,
        title=title,
        question=shorten(turn.question) or f"({sample.task})",
        answer=shorten(turn.answer),
        licence=sample.licence,
        images=tuple(shrink(image.data) for image in sample.images[:MAX_IMAGES] if image.data),
    )


def shorten(text: str) -> str:
    """The text in one line of at most MAX_CHARS."""
    plain = " ".join(text.split())
    return plain if len(plain) <= MAX_CHARS else f"{plain[: MAX_CHARS - 1]}…"


def shrink(data: bytes, side_px: int = THUMBNAIL_PX) -> bytes:
    """Return an encoded image as a JPEG whose sides are at most `side_px` long."""
    with PIL.Image.open(io.BytesIO(data)) as image:
        small = image.convert("L" if image.mode == "L" else "RGB")
    small.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
