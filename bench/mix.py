"""Rows like the mix's in shards, for `train.py`, `train_gpu.py` and `load.py`.

60 % of the rows are captions, 25 % short questions, both with a JPEG of varied size, 15 % questions with a long text
and no image. Words and pixels are drawn at random.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
from apart import draw_words

from openmedq.config import Normalize
from openmedq.model import prompt
from openmedq.schema import EncodedImage, Provenance, Sample, Task, Turn
from openmedq.storage.shards import ShardStore
from openmedq.training.order import count_open_groups

SOURCE = "bench"
NUM_IMAGES = 192  # different ones, shared by the rows


def make_samples(num_rows: int, num_words: int, caption_words: int, sides_px: tuple[int, int]) -> Iterator[Sample]:
    """Generate rows of the mix, over a vocabulary of `num_words` words."""
    random = np.random.default_rng(0)
    words = np.array(draw_words(Random(0), num_words))
    images = [_make_image(random, number, sides_px) for number in range(NUM_IMAGES)]

    def say(mean: int) -> str:
        return " ".join(random.choice(words, max(1, round(mean * random.lognormal(-0.1, 0.45)))))

    for number in range(num_rows):
        kind = random.choice(3, p=[0.6, 0.25, 0.15])
        task = (Task.CAPTION, Task.VQA, Task.TEXT_QA)[kind]
        turn = (
            Turn("", say(caption_words)),
            Turn(f"{say(7)}?", say(2)),
            Turn(f"{say(15)}?", "yes", context=say(230), options=("yes", "no", "maybe")),
        )[kind]
        shown = () if task is Task.TEXT_QA else (images[random.integers(NUM_IMAGES)],)
        yield make_sample(number, turn, *shown, task=task)


def make_sample(name: object, turn: Turn, *images: Any, **changes: Any) -> Sample:
    """A training row about images."""
    known = {"source": SOURCE, "split": "train", "task": Task.VQA, "modality": "mixed", "licence": "CC0-1.0"} | changes
    return Sample(
        id=f"{known['source']}/{name}",
        provenance=Provenance("rows.json", str(name)),
        turns=(turn,),
        images=images,
        **known,
    )


def draw_image(random: np.random.Generator, sides_px: tuple[int, int], num_channels: int) -> PIL.Image.Image:
    """Draw coarse shapes with fine noise, gray or RGB."""
    width, height = random.integers(*sides_px, 2).tolist()
    coarse = PIL.Image.fromarray(random.integers(0, 256, (12, 12, num_channels), np.uint8).squeeze())
    shapes = np.asarray(coarse.resize((width, height), PIL.Image.Resampling.BICUBIC), np.float32)
    noise = random.normal(0, 8, (height, width, 1) if num_channels > 1 else (height, width))
    return PIL.Image.fromarray(np.clip(shapes + noise, 0, 255).astype(np.uint8))


def _make_image(random: np.random.Generator, number: int, sides_px: tuple[int, int]) -> EncodedImage:
    image, buffer = draw_image(random, sides_px, 3 if random.random() < 0.5 else 1), io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    data = buffer.getvalue()
    hashes: dict[str, Any] = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "pixels_sha256": "",
        "phash": 0,
        "thumbnail": b"",
    }
    return EncodedImage(str(number), data=data, width=image.width, height=image.height, **hashes)


def write_shards(
    folder: Path, num_rows: int, num_words: int, caption_words: int = 40, sides_px: tuple[int, int] = (200, 768)
) -> pa.Table:
    """Write the rows as shards below `folder`; return their index."""
    (folder / SOURCE).mkdir(parents=True)
    ShardStore(folder / SOURCE).write(make_samples(num_rows, num_words, caption_words, sides_px), Normalize())
    return read_index(folder)


def read_index(folder: Path) -> pa.Table:
    """Return the index (source, shard, row_group, row) of the rows."""
    rows = [
        {"source": SOURCE, "shard": group.shard, "row_group": group.number, "row": row}
        for group in ShardStore(folder / SOURCE).scan(["id"])
        for row in range(len(group.rows))
    ]
    return pa.Table.from_pylist(rows)


def read_texts(samples: Sequence[Sample]) -> Iterator[str]:
    """Yield the texts of a tokenizer's training."""
    for sample in samples:
        for turn in sample.turns:
            yield f"{prompt.request(sample.task, turn)}\nAnswer: {prompt.respond(sample.task, turn)}"


def open_rows(folder: Path, index: pa.Table, num_workers: int, shared: Path | None = None) -> Sequence[Sample]:
    """Open the shards as the stage `train` does."""
    return ShardStore(folder).take(index, num_groups=count_open_groups(num_workers), shared=shared)
