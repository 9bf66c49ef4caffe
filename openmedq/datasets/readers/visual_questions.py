"""Questions on images without ids: a sample is named by its split and its row number in the split, from 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from openmedq.datasets.card import Card
from openmedq.datasets.fields import Record, keep, make_sample, represent, take_text
from openmedq.datasets.readers.columnar import stream_parquet
from openmedq.datasets.readers.hub_shards import take_image
from openmedq.schema import Image, Provenance, Reason, Rejected, Sample, Turn


class Fields(NamedTuple):
    """The content of a record, whatever its layout."""

    turn: Turn
    image: Image
    attributes: dict[str, str]


def take_turn(record: Record) -> Turn:
    """Return the fields `question` and `answer`."""
    question = take_text(record, "question", empty=Reason.QUESTION_EMPTY)
    return Turn(question, take_text(record, "answer", empty=Reason.ANSWER_EMPTY, is_number_allowed=True))


def read_shards(card: Card, raw: Path, split: str, paths: Sequence[Path]) -> Iterator[Sample | Rejected]:
    """Read the rows (image, question, answer) of a split's Parquet files, numbered across the files."""

    def take(record: Record) -> Fields:
        turn = take_turn(record)
        image, path = take_image(record, "image")
        return Fields(turn, image, keep(image_path=path))

    num_rows = 0
    for path in paths:
        records = stream_parquet(path, ("image", "question", "answer"))
        for row in read_numbered(card, raw, path, split, records, "row", take, num_before=num_rows):
            num_rows += 1
            yield row


def read_numbered(
    card: Card,
    raw: Path,
    path: Path,
    split: str,
    records: Iterable[tuple[str, Any]],
    unit: str,
    take: Callable[[Record], Fields],
    num_before: int = 0,
) -> Iterator[Sample | Rejected]:
    """Read the rows of one file; `num_before` rows of its split are in earlier files."""

    def identify(key: str, _: Record) -> tuple[str, str]:
        return f"{split}-{num_before + int(key)}", split

    def build(record: Record, sample_id: str, split: str, provenance: Provenance) -> Sample:
        turn, image, attributes = take(record)
        answer_type = "closed" if turn.answer.lower() in ("yes", "no") else "open"
        return make_sample(
            card,
            sample_id,
            split,
            provenance,
            turns=(turn,),
            images=(image,),
            attributes={"answer_type": answer_type, **attributes},
        )

    rows = represent(records, source=card.id, unit=unit, raw=raw, path=path, identify=identify, build=build, seen=None)
    for number, row in enumerate(rows, start=num_before + 1):
        if isinstance(row, Rejected):  # a row that was not parsed has neither name nor split yet
            row = replace(row, id=f"{card.id}/{split}-{number}", split=split)
        yield row
