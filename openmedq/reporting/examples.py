"""Pick the predictions and pairs of rows that the report and the demo show, with their images: of open sources only."""

import base64
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow.compute as pc

from openmedq import paths
from openmedq.curate.reasons import PAIR_SCHEMA, PAIR_TABLE, Tier
from openmedq.errors import StaleError, printable
from openmedq.evaluation.metrics.answers import exact_match
from openmedq.schema import Sample, Turn
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_table, remake

THUMBNAIL_PX = 240
MAX_CHARS = 280
MAX_IMAGES = 2  # of one row
NUM_PAIRS = 4  # of a tier

Row = dict[str, Any]  # of predictions.parquet, or of PAIR_TABLE

_IDS = ("evaluation_id", "training_id")


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


@dataclass(frozen=True)
class Pair:
    """A training row, the evaluation row that it shares something with, and the decision."""

    tier: str
    evidence: float | None  # how alike what they share is, 0 to 1; None: equal
    is_kept: bool  # whether the training row is trained on
    evaluation: Shown
    training: Shown

    @property
    def shared(self) -> str:
        """`Near image, evidence 0.912`."""
        tier = self.tier.capitalize()
        return tier if self.evidence is None else f"{tier}, evidence {self.evidence:.3f}"

    @property
    def overruling(self) -> str:
        """The line of `deduplicate.overrides` that overrules the decision."""
        return f"{self.training.id},{self.evaluation.id},{'copy' if self.is_kept else 'different'}"


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
    samples = _read_samples({row["id"] for row in picked}, path)
    return [(row, samples[row["id"]]) for row in picked]


def read_pairs(titles: Mapping[str, str], most: int) -> list[Pair]:
    """At most `most` pairs of each tier, the strongest tier first, of rows of the datasets with these titles.

    Raises:
        StaleError: the pairs are damaged, or older than the shards.
    """
    if not most or not PAIR_TABLE.exists():
        return []
    picked = [row for tier in Tier for row in _pick_pairs(titles, tier)[:most]]
    samples = _read_samples({row[name] for row in picked for name in _IDS}, PAIR_TABLE)
    pairs = []
    for row in picked:
        shown = (show(samples[row[name]], titles[_dataset_of(row[name])]) for name in _IDS)
        pairs.append(Pair(row["tier"], row["evidence"], row["is_kept"], *shown))
    return pairs


def _pick_pairs(datasets: Collection[str], tier: Tier) -> list[Row]:
    """The pairs of a tier, those of different datasets and outcomes in turn, first rows that are trained on."""
    table = read_table(PAIR_TABLE, PAIR_SCHEMA)
    groups: dict[tuple[str, str, bool], list[Row]] = {}
    for row in table.filter(pc.equal(table["tier"], tier.value)).to_pylist():
        training, evaluation = (_dataset_of(row[name]) for name in ("training_id", "evaluation_id"))
        if training in datasets and evaluation in datasets:
            groups.setdefault((training, evaluation, row["is_kept"]), []).append(row)
    return list(in_turn(groups[key] for key in sorted(groups, key=lambda key: not key[2])))


def _is_right(row: Row) -> bool:
    return bool(exact_match(row["answer"], [row["reference"], *row["alternatives"]]))


def in_turn(lists: Iterable[list[Row]]) -> Iterator[Row]:
    """One row of each list, then the next row of each, and so on."""
    return (row for rows in zip_longest(*lists) for row in rows if row is not None)


def _spread(rows: list[Row]) -> list[Row]:
    """Reorder with a stride: neighboring rows often ask the same about the same image."""
    stride = max(1, round(len(rows) ** 0.5))
    return [row for start in range(stride) for row in rows[start::stride]]


def _read_samples(ids: Collection[str], table: Path) -> dict[str, Sample]:
    """The rows of a table's ids, whether or not they are in the mix; StaleError if there is no such row."""
    datasets = dict.fromkeys(sorted(map(_dataset_of, ids)))
    places = [ShardStore(paths.SAMPLES / dataset).locate(ids) for dataset in datasets]
    found = {sample.id: sample for own in places for sample in ShardStore(paths.SAMPLES).take(own)}
    if found.keys() != set(ids):
        raise StaleError(f"{table}: is older than the shards; {remake(table)}")
    return found


def _dataset_of(row_id: str) -> str:
    return row_id.partition("/")[0]


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
    """The text in one line of at most MAX_CHARS, without control characters."""
    plain = printable(" ".join(text.split()))
    return plain if len(plain) <= MAX_CHARS else f"{plain[: MAX_CHARS - 1]}…"


def shrink(data: bytes, side_px: int = THUMBNAIL_PX) -> bytes:
    """Return an encoded image as a JPEG whose sides are at most `side_px` long."""
    with PIL.Image.open(io.BytesIO(data)) as image:
        small = image.convert("L" if image.mode == "L" else "RGB")
    small.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
