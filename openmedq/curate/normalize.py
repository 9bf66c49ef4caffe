"""`normalize`: convert published records to Parquet rows with encoded images; reject records that cannot be rows.

For each dataset, rows found = rows read + rows rejected. `validate` decides whether the data are good enough.
"""

import gc
import inspect
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from openmedq import paths
from openmedq.config import Normalize, Params
from openmedq.curate import forget
from openmedq.datasets.card import Dataset
from openmedq.errors import OpenMedQError, SourceError
from openmedq.schema import BrokenImage, EncodedImage, Groups, Reason, Rejected, Sample
from openmedq.storage import origin, shards
from openmedq.storage.decoding import Decoder, keep_ahead, open_executor
from openmedq.storage.progress import progress
from openmedq.storage.publish import publish
from openmedq.storage.redact import redact_paths
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import COUNTS

_GROUP_KEYS = attrgetter(*(key.name for key in fields(Groups)))  # `astuple` copies deeply, a fifth of the whole time


@dataclass
class Counts:
    """Counts of a dataset's records."""

    found: int = 0
    read: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    image_ids: set[str] = field(default_factory=set)  # of rows read

    def add(self, item: Sample | Rejected) -> None:
        """Count one record."""
        self.found += 1
        if isinstance(item, Rejected):
            self.rejected[str(item.reason)] += 1
            return
        self.read += 1
        self.splits[item.split] += 1
        self.image_ids.update(image.image_id for image in item.images)

    def as_tree(self, published: origin.Origin) -> dict[str, Any]:
        """The content of counts.json."""
        return {
            "state": "present" if published.is_present else "absent",
            "origin": published.origin,
            **({"reason": published.reason} if published.reason else {}),  # why the dataset is absent
            "found": self.found,
            "read": self.read,
            "rejected": dict(sorted(self.rejected.items())),
            "splits": dict(sorted(self.splits.items())),
            "num_images": len(self.image_ids),
        }


def run(params: Params, dataset: Dataset) -> None:
    """Write the dataset's shards, rejected.parquet and counts.json; they are empty for an absent dataset."""
    dataset_id = dataset.card.id
    gc.freeze()  # to collect no objects of imported modules, which took a fifth of the time of text rows
    try:
        with redact_paths(dataset_id, dataset.card.is_credentialed):
            _normalize(params, dataset)
    except SourceError as error:
        raise SourceError(f"{error} (or leave the dataset out: download.skip: [{dataset_id}])") from None
    finally:
        gc.unfreeze()


def _normalize(params: Params, dataset: Dataset) -> None:
    dataset_id = dataset.card.id
    published = origin.read(paths.RAW / dataset_id / "origin.json")
    digests = frozenset(forget.read(paths.FORGOTTEN).get(dataset_id, []))
    origin.check_sizes(published)

    counts = Counts()
    with publish(paths.SAMPLES / dataset_id) as folder:
        folder.mkdir()
        with (
            open_executor(params.execution) as (executor, num_ahead),
            shards.write_rejected(folder) as reject,
            progress(f"reading {dataset_id}", None) as advance,
        ):

            def read() -> Iterator[Sample]:
                if published.folder is None:
                    return
                for item in rows(dataset, published.folder, params.normalize, executor, num_ahead, digests):
                    counts.add(item)
                    advance(1)
                    if isinstance(item, Rejected):
                        # The name of a credentialed dataset's image contains the number of a study or a patient.
                        is_hidden = dataset.card.is_credentialed and item.reason is Reason.IMAGE_MISSING
                        reject(replace(item, detail="an image; its name is hidden") if is_hidden else item)
                    else:
                        yield item

            num_written = ShardStore(folder).write(read(), params.normalize)
        if published.folder is not None and not counts.found:
            raise no_records(dataset_id, published.folder)
        num_rejected = shards.count_rejected(folder)
        if (counts.read, counts.found) != (num_written, num_written + num_rejected):
            raise AssertionError(f"{dataset_id}: {counts.found} found, {num_written} written, {num_rejected} rejected")
        text = json.dumps(counts.as_tree(published), indent=2) + "\n"
        (folder / COUNTS).write_text(text, encoding="utf-8")


def no_records(dataset_id: str, raw: Path) -> SourceError:
    """The error for a folder with the right layout and without records."""
    return SourceError(f"{raw}: no record of {dataset_id} found; put its published files there")


def rows(
    dataset: Dataset,
    raw: Path,
    settings: Normalize,
    executor: Executor,
    num_ahead: int = 0,
    digests: frozenset[str] = frozenset(),
) -> Iterator[Sample | Rejected]:
    """The dataset's records in published order, with images encoded, or rejected with the reason.

    Rejects what readers do not check: broken images, repeated ids (an id takes about 100 bytes of memory), texts that
    are not valid Unicode, and ids whose digest is in `digests`.

    Args:
        dataset: the dataset's module.
        raw: folder of the published files.
        settings: of the stage.
        executor: encodes the images.
        num_ahead: records that are read before the first one must be finished, to keep the executor busy.
        digests: of ids that are excluded, see `curate/forget.py`.

    Raises:
        SourceError: a record has a split that the card does not name.
    """
    decoder = Decoder(executor, settings)
    seen: set[str] = set()

    def submit() -> Iterator[tuple[Sample | Rejected, list[Future[EncodedImage]]]]:
        for record in dataset.read(raw, **settings_of(dataset, settings)):
            item = _refuse(record, seen, digests)
            yield item, [decoder.submit(image) for image in (item.images if isinstance(item, Sample) else ())]

    for submitted in keep_ahead(submit(), num_ahead):
        yield _finish(dataset, *submitted)


def settings_of(dataset: Dataset, settings: Normalize) -> dict[str, Any]:
    """The settings that the dataset's reader takes: its keywords, named as in `Normalize`."""
    keywords = list(inspect.signature(dataset.read).parameters)[1:]
    return {name: getattr(settings, name) for name in keywords}


def _refuse(record: Sample | Rejected, seen: set[str], digests: frozenset[str]) -> Sample | Rejected:
    """The record, or its rejection for a reason that does not concern its images."""
    if isinstance(record, Rejected):
        return record
    try:
        "".join(_list_texts(record)).encode()
    except UnicodeEncodeError:
        return to_rejected(record, Reason.NOT_UTF8, "lone surrogate in a text")
    if forget.is_forgotten(record, digests):
        return to_rejected(record, Reason.FORGOTTEN, "by request")
    if record.id in seen:
        return to_rejected(record, Reason.ID_REPEATED, "an earlier record has this id")
    seen.add(record.id)
    return record


def _list_texts(sample: Sample) -> list[str]:
    texts = [sample.id, sample.source, sample.split, sample.modality, sample.licence, *sample.labels]
    texts += (sample.provenance.file, sample.provenance.record, *filter(None, _GROUP_KEYS(sample.groups)))
    for turn in sample.turns:
        texts += (turn.question, turn.answer, turn.context, *turn.options, *turn.alternatives)
    for image in sample.images:
        texts.append(image.image_id)
    for pair in sample.attributes.items():
        texts += pair
    return texts


def _finish(dataset: Dataset, item: Sample | Rejected, futures: list[Future[EncodedImage]]) -> Sample | Rejected:
    if isinstance(item, Rejected):
        return item
    card = dataset.card
    if item.split not in card.roles:
        known = ", ".join(card.roles)
        raise SourceError(
            f"{item.id}: split {item.split!r} is not on the card of {card.id}, which has {known}; add it to the "
            "card's roles"
        )
    encoded = []
    for image, future in zip(item.images, futures, strict=True):
        problem = future.exception()  # if raised, it would keep this record in memory as long as the decoder caches it
        if isinstance(problem, BrokenImage):
            if problem.reason is Reason.IMAGE_MISSING and image.path is not None and image.path.is_file():
                advice = "all machines of execution.scheduler need the files of the dataset under the same path"
                raise OpenMedQError(f"{card.id}: a worker does not see an image that exists here; {advice}")
            name = "an image" if card.is_credentialed else image.image_id
            return to_rejected(item, problem.reason, f"{name}: {problem.detail}")
        encoded.append(replace(future.result(), image_id=image.image_id))
    return replace(item, images=tuple(encoded)) if encoded else item


def to_rejected(sample: Sample | Rejected, reason: Reason, detail: str) -> Rejected:
    """The record as rejected."""
    return Rejected(sample.id, sample.source, sample.split, reason, detail, sample.provenance)
