"""Questions on images without ids: a sample is named by its split and its row number in the split, from 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from openmedq.datasets.card import Card
from openmedq.datasets.fields import Content, Record, keep, represent, take_text
from openmedq.datasets.readers.columnar import stream_parquet
from openmedq.datasets.readers.hub_shards import take_image
from openmedq.schema import Reason, Rejected, Sample, Turn


def read_shards(card: Card, raw: Path, split: str, paths: Sequence[Path]) -> Iterator[Sample | Rejected]:
    """Read the rows (image, question, answer) of a split's Parquet files, numbered across the files."""
    num_rows = 0
    for path in paths:
        for row in _read_shard(card, raw, split, path, num_rows):
            num_rows += 1
            yield row


def _read_shard(card: Card, raw: Path, split: str, path: Path, num_before: int) -> Iterator[Sample | Rejected]:
    return represent(
        card,
        stream_parquet(path, ("image", "question", "answer")),
        raw=raw,
        path=path,
        identify=lambda key, _: (f"{split}-{num_before + int(key)}", split),
        build=_build,
        unit="row",
        is_keyed=True,
    )


def _build(record: Record, _: str) -> Content:
    question = take_text(record, "question", empty=Reason.QUESTION_EMPTY)
    answer = take_text(record, "answer", empty=Reason.ANSWER_EMPTY, is_number_allowed=True)
    image, path = take_image(record, "image")
    answer_type = "closed" if answer.lower() in ("yes", "no") else "open"
    return {
        "turns": (Turn(question, answer),),
        "images": (image,),
        "attributes": keep(answer_type=answer_type, image_path=path),
    }
