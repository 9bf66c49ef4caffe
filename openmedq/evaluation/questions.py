"""`questions`: the questions and image files of a dataset's evaluation splits, for another system to answer.

Works on a folder of published files alone; the pipeline need not have run.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from openmedq import paths
from openmedq.config import Normalize
from openmedq.curate import forget
from openmedq.curate.normalize import settings_of, to_rejected
from openmedq.datasets import registry
from openmedq.datasets.card import Card
from openmedq.errors import ParamsError, SourceError, numbered
from openmedq.schema import BrokenImage, Image, Reason, Rejected, Role, Sample
from openmedq.storage.images import encode
from openmedq.storage.redact import redact_paths
from openmedq.storage.shards import ShardStore

QUESTIONS, IMAGES = "questions.jsonl", "images"

_AS_PUBLISHED = Normalize(max_side_px=2**31)  # no image is scaled down


def scan(dataset_id: str, raw: Path | None) -> Iterator[Sample | Rejected]:
    """Yield the records of a dataset's evaluation splits in published order; of a repeated id the first one.

    Those that `forget` excludes are rejected.

    They are read from the folder `raw` of published files. If it is None, they are read from data/samples, without
    images.

    Raises:
        SourceError: the dataset has no evaluation split, or the folder has no record of it.
    """
    dataset = registry.load(dataset_id)
    card = dataset.card
    splits = [split for split, role in card.roles.items() if role is Role.EVALUATION]
    if card.kind != "source" or not splits:
        raise SourceError(f"{dataset_id}: has no questions for evaluation; its splits are {', '.join(card.roles)}")
    if raw is not None and not raw.is_dir():
        raise SourceError(f"{raw}: no such folder; set --raw to the folder with the published files of {dataset_id}")
    seen: set[str] = set()
    digests = forget.digests_of(dataset_id)
    with redact_paths(dataset_id, card.is_credentialed):
        for item in _read_normalized(card) if raw is None else dataset.read(raw, **settings_of(dataset, Normalize())):
            if item.split in splits and item.id not in seen:
                seen.add(item.id)
                is_forgotten = isinstance(item, Sample) and forget.is_forgotten(item, digests)
                yield to_rejected(item, Reason.FORGOTTEN, "by request") if is_forgotten else item
    if not seen:
        raise SourceError(f"{raw or paths.SAMPLES / dataset_id}: no record of the split {' or '.join(splits)} found")


def run(dataset_id: str, raw: Path, target: Path) -> None:
    """Write questions.jsonl and the image files to the folder `target`, which must not exist or be empty.

    A line has id, question, options, context, task, images (paths below `target`) and image_ids, and no answer.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ParamsError(f"{target}: exists and is not an empty folder; choose another one")
    items = scan(dataset_id, raw)
    first = next(items)  # before anything is written
    card = registry.load(dataset_id).card
    (target / IMAGES).mkdir(parents=True)
    try:
        with redact_paths(dataset_id, card.is_credentialed):
            num_written, num_images, rejected = _write(chain([first], items), target)
        if not num_written:
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(rejected.items()))
            raise SourceError(f"{raw}: no question of {dataset_id} can be asked ({reasons}); complete the folder")
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)  # holds only what this run wrote, and a part would look whole
        raise
    print(f"{target / QUESTIONS}: {numbered(num_written, 'question')}, {numbered(num_images, 'image')}")
    for reason, number in sorted(rejected.items()):
        print(f"not among the questions: {numbered(number, 'record')}, {reason}")
    if card.is_credentialed:
        print(f"{dataset_id} is credentialed: its data-use agreement applies to {target}, too")


def _write(items: Iterable[Sample | Rejected], target: Path) -> tuple[int, int, Counter[str]]:
    """Write the questions and their images; return the numbers of both, and of the records of each reason."""
    written: dict[object, str] = {}
    rejected: Counter[str] = Counter()
    num_written = 0
    with (target / QUESTIONS).open("w", encoding="utf-8") as file:
        for item in items:
            if isinstance(item, Rejected):
                rejected[str(item.reason)] += 1
                continue
            try:
                images = [_write_image(image, target, written) for image in item.images]
            except (FileNotFoundError, BrokenImage) as error:
                rejected[str(error.reason if isinstance(error, BrokenImage) else Reason.IMAGE_MISSING)] += 1
                continue
            file.write(json.dumps(_describe(item, images), ensure_ascii=False) + "\n")
            num_written += 1
    return num_written, len(written), rejected


def _read_normalized(card: Card) -> Iterator[Sample]:
    folder = paths.SAMPLES / card.id
    if not folder.is_dir():
        raise SourceError(f"{folder}: not found; add --raw DIR, the folder with the published files of {card.id}")
    yield from ShardStore(paths.SAMPLES).take(ShardStore(folder).locate(), with_images=False)


def _describe(sample: Sample, images: list[str]) -> dict[str, Any]:
    turn = sample.turns[-1]
    return {
        "id": sample.id,
        "question": turn.question,
        "options": list(turn.options),
        "context": turn.context,
        "task": str(sample.task),
        "images": images,
        "image_ids": [image.image_id for image in sample.images],  # the dataset's own names
    }


def _write_image(image: Image, target: Path, written: dict[object, str]) -> str:
    """Write an image, each once, and return its path below `target`: JPEG or PNG, without metadata."""
    key = image.path or hashlib.sha256(image.data or b"").digest()
    if key not in written:
        data = encode(image.path.read_bytes() if image.path is not None else image.data or b"", _AS_PUBLISHED).data
        suffix = ".png" if data.startswith(b"\x89PNG") else ".jpg"
        name = f"{IMAGES}/{len(written):06}{suffix}"
        (target / name).write_bytes(data)
        written[key] = name
    return written[key]
