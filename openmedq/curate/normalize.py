"""`normalize`: from published records to Parquet rows, pictures decoded, and what can't be used with its reason.

Rows found = rows read + rows rejected, held for each set. How a record reads is its source's business, how a picture is
decoded is `io/images.py`'s, and whether data are good is `validate`'s.
"""

from __future__ import annotations

import inspect
import json
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from openmedq import paths
from openmedq.config import Normalize, Params
from openmedq.curate import forgotten
from openmedq.datasets.card import Dataset
from openmedq.errors import OpenMedQError, SourceError
from openmedq.schema import Groups, Reason, Rejected, Sample
from openmedq.storage import origin, shards
from openmedq.storage.decoding import Decoder, open_executor
from openmedq.storage.discretion import discreet
from openmedq.storage.images import BrokenPicture, Picture
from openmedq.storage.progress import progress
from openmedq.storage.publish import publish
from openmedq.storage.records import Row
from openmedq.storage.shards import ShardStore

_GROUP_KEYS = attrgetter(*(key.name for key in fields(Groups)))  # astuple copies deeply, and took a fifth of the time

NUM_AHEAD = 32  # records in the hands of each further worker


@dataclass
class Counts:
    """What became of a set's records."""

    found: int = 0
    read: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    image_ids: set[str] = field(default_factory=set)  # of kept samples

    def add(self, item: Row | Rejected) -> None:
        """Count one record."""
        self.found += 1
        if isinstance(item, Rejected):
            self.rejected[str(item.reason)] += 1
            return
        self.read += 1
        self.splits[item.sample.split] += 1
        self.image_ids.update(image.image_id for image in item.sample.images)

    def as_tree(self, published: origin.Origin) -> dict[str, Any]:
        """counts.json."""
        return {
            "state": "present" if published.is_present else "absent",
            "origin": published.origin,
            **({"reason": published.reason} if published.reason else {}),  # of its absence
            "found": self.found,
            "read": self.read,
            "rejected": dict(sorted(self.rejected.items())),
            "splits": dict(sorted(self.splits.items())),
            "num_images": len(self.image_ids),
        }


def run(params: Params, set_: Dataset) -> None:
    """Write the set's shards, rejected.parquet and counts.json; of an absent set, empty ones."""
    set_id = set_.card.id
    with discreet(set_id, set_.card.is_credentialed):
        try:
            _normalize(params, set_)
        except SourceError as error:
            raise SourceError(f"{error} (or leave the set out: download.skip: [{set_id}])") from None


def _normalize(params: Params, set_: Dataset) -> None:
    set_id = set_.card.id
    published = origin.read(paths.RAW / set_id / "origin.json")
    digests = frozenset(forgotten.read(paths.FORGOTTEN).get(set_id, []))
    origin.check_sizes(published)

    counts = Counts()
    with publish(paths.SAMPLES / set_id) as folder:
        folder.mkdir()
        with (
            open_executor(params.execution.workers) as executor,
            shards.write_rejected(folder) as rejected,
            progress(f"reading {set_id}", None) as advance,
        ):

            def keep() -> Iterator[Row]:
                if published.folder is None:
                    return
                num_ahead = NUM_AHEAD * (params.execution.workers - 1)
                for item in rows(set_, published.folder, params.normalize, executor, num_ahead, digests):
                    counts.add(item)
                    advance(1)
                    if isinstance(item, Rejected):
                        rejected.add(item)
                    else:
                        yield item

            num_written = ShardStore(folder).write(keep(), params.normalize)
        if published.folder is not None and not counts.found:
            raise no_records(set_id, published.folder)
        num_rejected = shards.count_rejected(folder)
        if (counts.read, counts.found) != (num_written, num_written + num_rejected):
            raise AssertionError(f"{set_id}: {counts.found} records, {num_written} written, {num_rejected} rejected")
        text = json.dumps(counts.as_tree(published), indent=2) + "\n"
        (folder / "counts.json").write_text(text, encoding="utf-8")


def no_records(set_id: str, raw: Path) -> SourceError:
    """The error of a folder whose layout is right and which holds nothing."""
    return SourceError(f"{raw}: not one record of {set_id}; expected its published files there")


def rows(
    set_: Dataset,
    raw: Path,
    settings: Normalize,
    executor: Executor,
    num_ahead: int = 0,
    digests: frozenset[str] = frozenset(),
) -> Iterator[Row | Rejected]:
    """The set's records in published order: with pictures encoded, or rejected with the reason.

    Rejected here are broken pictures, repeated ids (an id takes about 100 bytes of memory), texts that are no
    Unicode, and what `digests` says is forgotten. `num_ahead` records are read before the first must be done, so that
    an executor has work. SourceError for a split that the card doesn't know.
    """
    decoder = Decoder(executor, settings)
    seen: set[str] = set()
    waiting: deque[tuple[Sample | Rejected, list[Future[Picture]]]] = deque()
    for record in set_.read(raw, **dials_of(set_, settings)):
        item = _refuse(record, seen, digests)
        images = item.images if isinstance(item, Sample) else ()
        waiting.append((item, [decoder.submit(image) for image in images]))
        if len(waiting) > num_ahead:
            yield _finish(set_, *waiting.popleft())
    while waiting:
        yield _finish(set_, *waiting.popleft())


def dials_of(set_: Dataset, settings: Normalize) -> dict[str, Any]:
    """The dials that the set's reader takes: its keywords, which are called as in `Normalize`."""
    keywords = list(inspect.signature(set_.read).parameters)[1:]
    return {name: getattr(settings, name) for name in keywords}


def _refuse(record: Sample | Rejected, seen: set[str], digests: frozenset[str]) -> Sample | Rejected:
    """The record, or why it can't be a row whatever its pictures are."""
    if isinstance(record, Rejected):
        return record
    try:
        "".join(_texts(record)).encode()
    except UnicodeEncodeError:
        return _reject(record, Reason.NOT_UTF8, "half a surrogate pair in a text")
    if forgotten.is_forgotten(record, digests):
        return _reject(record, Reason.FORGOTTEN, "by request")
    if record.id in seen:
        return _reject(record, Reason.ID_REPEATED, "an earlier record has this id")
    seen.add(record.id)
    return record


def _texts(sample: Sample) -> Iterator[str]:
    yield from (sample.id, sample.source, sample.split, sample.modality, sample.licence)
    yield from (sample.provenance.file, sample.provenance.record, *sample.labels)
    for turn in sample.turns:
        yield from (turn.question, turn.answer, turn.context, *turn.options, *turn.alternatives)
    yield from (image.image_id for image in sample.images)
    yield from filter(None, _GROUP_KEYS(sample.groups))
    for name, value in sample.attributes.items():
        yield from (name, value)


def _finish(set_: Dataset, item: Sample | Rejected, futures: list[Future[Picture]]) -> Row | Rejected:
    if isinstance(item, Rejected):
        return item
    role = set_.card.roles.get(item.split)
    if role is None:
        known = ", ".join(set_.card.roles)
        raise SourceError(f"{item.id}: split {item.split!r} is not on the card of {set_.card.id}, which has {known}")
    pictures = []
    for image, future in zip(item.images, futures, strict=True):
        problem = future.exception()  # raised, it would hold on to this record while the decoder remembers it
        if isinstance(problem, BrokenPicture):
            # Images of a credentialed set are called by a study's or a patient's number.
            is_told = not set_.card.is_credentialed or problem.reason is Reason.IMAGE_UNEXPECTED
            name = "an image" if set_.card.is_credentialed else image.image_id
            return _reject(item, problem.reason, f"{name}: {problem.detail}" if is_told else "a picture")
        if isinstance(problem, BrokenExecutor):
            advice = "probably for want of memory; lower execution.workers in params.yaml"
            raise OpenMedQError(f"{set_.card.id}: a process that decodes pictures was killed, {advice}")
        pictures.append(future.result())
    return Row(item, role, tuple(pictures))


def _reject(sample: Sample, reason: Reason, detail: str) -> Rejected:
    return Rejected(sample.id, sample.source, sample.split, reason, detail, sample.provenance)
