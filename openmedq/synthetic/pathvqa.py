"""The generated miniature of PathVQA."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openmedq.datasets.pathvqa import SHARDS, card
from openmedq.schema import IMAGE_FILE, with_features
from openmedq.synthetic.draw import ORGANS, Figure, draw, draw_figures, encode_jpeg, encode_png, generator, tint

_NUM_IMAGES = {"train": 14, "validation": 3, "test": 7}
SCHEMA = with_features(pa.schema([("image", IMAGE_FILE), ("question", pa.string()), ("answer", pa.string())]))
_STAINS = ((1.0, 0.75, 0.95), (0.85, 0.75, 1.05))  # eosin, hematoxylin


def write(raw: Path, seed: int = 0) -> None:
    """Write the 13 Parquet files of the Hugging Face layout: six questions about each of 24 images."""
    (raw / "data").mkdir(parents=True, exist_ok=True)
    random = generator(seed, card.id)
    figures = iter(draw_figures(seed, card.id, num_rounds=1))
    for split, num_images in _NUM_IMAGES.items():
        asked = [row for number in range(num_images) for row in _ask(next(figures), split, number)]
        rows = [asked[index] for index in random.permutation(len(asked))]
        if split == "train":
            _add_irregularities(rows)
        names = [name for name in SHARDS if name.startswith(split)]
        for number, name in enumerate(names):
            part = rows[len(rows) * number // len(names) : len(rows) * (number + 1) // len(names)]
            pq.write_table(pa.Table.from_pylist(part, SCHEMA), raw / "data" / f"{name}.parquet", row_group_size=100)


def _ask(figure: Figure, split: str, number: int) -> list[dict[str, Any]]:
    """Three open and three closed questions about an image."""
    named = figure.organ if number % 2 else ORGANS[(ORGANS.index(figure.organ) + 1) % len(ORGANS)]
    answers = {
        "where is the mass located?": figure.position,
        "which organ is shown?": figure.organ,
        "how many clips are seen?": str(figure.num_clips),
        "is the mass large?": "yes" if figure.is_large else "no",
        "is the background bright?": "yes" if figure.is_bright else "no",
        f"is {named} present?": "yes" if named == figure.organ else "no",
    }
    image = {"bytes": _encode(figure, number), "path": f"{split}_{number:04}.jpg" if number % 3 else None}
    return [{"image": image, "question": question, "answer": answer} for question, answer in answers.items()]


def _encode(figure: Figure, number: int) -> bytes:
    pixels = draw(figure)
    stained = tint(pixels, _STAINS[number % 2])
    if number % 4 == 0:
        return encode_jpeg(stained, mode="CMYK")
    if number % 4 == 1:
        return encode_png(stained)
    return encode_jpeg(stained, mode="RGB") if number % 4 == 2 else encode_jpeg(pixels)


def _add_irregularities(rows: list[dict[str, Any]]) -> None:
    """Unusual spellings of four questions, and one repeated row."""
    for question, spelling in (
        ("where is the mass located?", "Where is the mass located?"),
        ("which organ is shown?", "which organ  is shown?"),
        ("how many clips are seen?", " how many clips are seen ?"),
        ("is the mass large?", "is the mass large??"),
    ):
        next(row for row in rows if row["question"] == question)["question"] = spelling
    rows.insert(len(rows) // 2, rows[3])
