"""Samples as rows of SAMPLE_SCHEMA in plain Python, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openmedq.schema import Groups, Image, Provenance, Role, Sample, Task, Turn

if TYPE_CHECKING:
    from openmedq.storage.images import Picture

Record = dict[str, Any]  # one row of SAMPLE_SCHEMA


@dataclass(frozen=True, slots=True)
class Row:
    """A sample as it is stored: `pictures[i]` is `sample.images[i]`, encoded."""

    sample: Sample
    role: Role  # the card's role of the sample's split
    pictures: tuple[Picture, ...]


def from_row(row: Row) -> Record:
    """A row as it is written."""
    sample = row.sample
    return {
        "id": sample.id,
        "source": sample.source,
        "split": sample.split,
        "role": str(row.role),
        "task": str(sample.task),
        "modality": sample.modality,
        "licence": sample.licence,
        "provenance": write_provenance(sample.provenance),
        "turns": [
            {
                "question": turn.question,
                "answer": turn.answer,
                "context": turn.context,
                "options": list(turn.options),
                "alternatives": list(turn.alternatives),
            }
            for turn in sample.turns
        ],
        "images": [{"bytes": picture.data, "path": None} for picture in row.pictures],
        "pictures": [
            {
                "image_id": image.image_id,
                "sha256": picture.sha256,
                "pixels_sha256": picture.pixels_sha256,
                "phash": picture.phash,
                "thumbnail": picture.thumbnail,
                "width": picture.width,
                "height": picture.height,
            }
            for image, picture in zip(sample.images, row.pictures, strict=True)
        ],
        "groups": {name: getattr(sample.groups, name) for name in ("patient", "study", "article", "case", "question")},
        "labels": list(sample.labels),
        "attributes": [{"name": name, "value": sample.attributes[name]} for name in sorted(sample.attributes)],
    }


def write_provenance(provenance: Provenance) -> dict[str, str]:
    """Where a record came from, as it is written."""
    return {"file": clean(provenance.file), "record": clean(provenance.record)}


def clean(text: str) -> str:
    """Half a surrogate pair is not text; it is written as it would be in Python's source."""
    return text.encode("utf-8", "backslashreplace").decode()


def to_sample(record: Record) -> Sample:
    """A sample as it was before it was written; without `images` in the record, its images have no bytes."""
    data = [image["bytes"] for image in record.get("images") or ()] or [None] * len(record["pictures"])
    return Sample(
        id=record["id"],
        source=record["source"],
        split=record["split"],
        task=Task(record["task"]),
        modality=record["modality"],
        licence=record["licence"],
        provenance=Provenance(**record["provenance"]),
        turns=tuple(
            Turn(turn["question"], turn["answer"], turn["context"], tuple(turn["options"]), tuple(turn["alternatives"]))
            for turn in record["turns"]
        ),
        images=tuple(
            Image(picture["image_id"], data=each) for picture, each in zip(record["pictures"], data, strict=True)
        ),
        groups=Groups(**record["groups"]),
        labels=tuple(record["labels"]),
        attributes={attribute["name"]: attribute["value"] for attribute in record["attributes"]},
    )
