"""A whole dataset in a few lines: images in a folder, questions in a JSON list, and a record for each fault."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image

from openmedq import paths
from openmedq.curate import forget
from openmedq.datasets import catalogue
from openmedq.datasets.card import Access, Card, File
from openmedq.errors import SourceError
from openmedq.schema import Image, Provenance, Reason, Rejected, Role, Sample, Task, Turn
from tests.storage.drawing import save

Read = Callable[[Path], Iterator[Sample | Rejected]]

CARD = Card(
    id="toy_set",
    title="Toy Set-2",
    homepage="https://example.org/toy",
    citation="A. Author, Toys, 2026",
    licence="CC0-1.0",
    access=Access.OPEN,
    task=Task.VQA,
    modality="radiology",
    files=(File(path="questions.json", url="https://example.org/toy/questions.json"),),
    roles={"train": Role.TRAIN, "test": Role.EVALUATION},
    published_rows={"train": 4, "test": 2},
)


def make_sample(record_id: str, *images: Image, split: str = "train", question: str = "Where?") -> Sample:
    return Sample(
        id=f"toy_set/{record_id}",
        source="toy_set",
        split=split,
        task=Task.VQA,
        modality="radiology",
        licence="CC0-1.0",
        provenance=Provenance("questions.json", record_id),
        turns=(Turn(question, "left"),),
        images=images,
    )


def make_png(seed: int, side_px: int = 24) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (side_px, side_px), np.uint8)
    return save(PIL.Image.fromarray(noise), "PNG")


def read(raw: Path) -> Iterator[Sample | Rejected]:
    if not (raw / "questions.json").is_file():
        raise SourceError(f"{raw}: no questions.json")
    for record in json.loads((raw / "questions.json").read_text()):
        sample = make_sample(
            record["id"], Image(record["picture"], path=raw / record["picture"]), split=record["split"]
        )
        if record["picture"] == "":
            yield Rejected(
                sample.id, "toy_set", sample.split, Reason.FIELD_MISSING, "field `picture`", sample.provenance
            )
        else:
            yield sample


def miniature(raw: Path, seed: int = 0) -> None:
    pictures = ["a.png", "b.png", "a.png", "broken.png", "", "c.png"]
    records = [
        {"id": str(number), "picture": picture, "split": "test" if number == 5 else "train"}
        for number, picture in enumerate(pictures)
    ]
    (raw / "questions.json").write_text(json.dumps(records))
    for number, name in enumerate(("a.png", "b.png", "c.png")):
        (raw / name).write_bytes(make_png(seed + number))
    (raw / "broken.png").write_text("no image")


def make_set(read: Read = read, card: Card = CARD) -> SimpleNamespace:
    return SimpleNamespace(card=card, read=read)


def write_catalogue(*cards: Card) -> None:
    """Write the cards' data/catalogue.yaml, and empty lists of forgotten names and of decisions, below the folder."""
    text = catalogue.render({card.id: card for card in cards}, dict.fromkeys((card.id for card in cards), "x.py"))
    paths.CATALOGUE.parent.mkdir(exist_ok=True)
    paths.CATALOGUE.write_text(text, encoding="utf-8")
    Path("data/copies.csv").write_text("id_a,id_b,decision\n", encoding="utf-8")
    paths.FORGOTTEN.write_text(forget.render({}, catalogue.read(paths.CATALOGUE)), encoding="utf-8")
