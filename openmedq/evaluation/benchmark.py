"""A classification dataset with its train, validation and test rows, read from the shards as they are needed.

The card names the splits; what has no published splits is divided by patients and image fingerprints. So is a local
dataset whose rows are all of one split. Memory is bounded: labels and ids of all rows, the row groups in use, and
MAX_CACHE_BYTES of pixels.
"""

import hashlib
import itertools
import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from openmedq import paths
from openmedq.config import Params
from openmedq.curate.division import divide
from openmedq.curate.images import group_images
from openmedq.datasets.card import Card
from openmedq.errors import SourceError
from openmedq.evaluation.towers.tower import Preprocessing
from openmedq.model.pixels import decode
from openmedq.schema import Sample
from openmedq.storage.shards import ShardStore
from openmedq.training.data import Piece, Row
from openmedq.training.loader import Job, load
from openmedq.training.order import Order, count_open_groups, number_groups

MAX_CACHE_BYTES = 2**29  # of decoded pixels of a benchmark, over all loader processes

FACTS = ("labels", "groups.patient", "images.list.element.pixels_sha256")
_FINGERPRINTS = ("images.list.element.phash", "images.list.element.thumbnail")
_NONE = torch.zeros(0, dtype=torch.int64)

Rows = NDArray[np.int64]


class Images(Dataset[list[Row]]):
    """The pixels of rows, without tokens; small datasets stay in memory for the next epochs and seeds."""

    def __init__(self, samples: Sequence[Sample], preprocessing: Preprocessing, cache_bytes: int) -> None:
        self._samples, self._preprocessing, self._cache_bytes = samples, preprocessing, cache_bytes
        self._cache: dict[int, Tensor] = {}

    def __getitem__(self, piece: Piece) -> list[Row]:
        return [Row(number, _NONE, _NONE, [self._read(number)], False) for number in piece.rows.tolist()]

    def stack(self, rows: Rows) -> Tensor:
        """Return the pixels of rows, (B, 3, S, S) uint8."""
        return torch.stack([self._read(number) for number in rows.tolist()])

    def _read(self, number: int) -> Tensor:
        if number in self._cache:
            return self._cache[number]
        side_px, resample = self._preprocessing.side_px, int(self._preprocessing.resample)
        pixels = decode(self._samples[number].images[0], side_px, resample)
        if (len(self._cache) + 1) * pixels.nbytes <= self._cache_bytes:
            self._cache[number] = pixels
        return pixels


@dataclass(frozen=True)
class Part:
    """The training and validation rows, or the test rows, in the order of the index."""

    ids: list[str]
    labels: list[list[str]]
    clusters: Rows  # (rows,) number of each row's patient, or of its image if the dataset names no patient
    digest: str  # of ids, labels, patients and pixels
    images: Images
    groups: Rows  # (rows,) number of each row's row group
    num_workers: int

    def __len__(self) -> int:
        return len(self.ids)

    def shuffle(self, picked: Rows, batch_size: int, seed: int) -> Iterator[list[Rows]]:
        """Yield the batches of each epoch of a training on some of the rows, local enough to read, without end."""
        order = Order(np.ones(len(picked), np.float32), self.groups[picked], seed, batch_size)
        return (cut(picked[order.draw(epoch)], batch_size) for epoch in itertools.count())

    def read(self, batches: Iterable[Rows]) -> Generator[tuple[Rows, Tensor]]:
        """Yield rows by number, and their pixels (B, 3, S, S) uint8, of any number of batches."""
        if not self.num_workers:
            yield from ((rows, self.images.stack(rows)) for rows in batches)
            return
        jobs = (Job(rows, None) for rows in batches)
        read = load(self.images, jobs, lambda job: np.full(len(job.rows), np.nan, np.float32), self.num_workers)
        for job, rows in read:
            yield job.rows, torch.stack([image for row in rows for image in row.pixels])


def cut(rows: Rows, batch_size: int) -> list[Rows]:
    """Divide rows into batches, in order."""
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


class Benchmark:
    """The rows of one classification dataset, for one encoder.

    Attributes:
        card: the card, with the classes and the splits that a local dataset has.
        train: the training rows and the validation rows.
        fitted: numbers of the training rows in `train`.
        validated: numbers of the validation rows in `train`. They pick the best epoch.
        test: the test rows.
    """

    def __init__(self, card: Card, rows: pa.Table, params: Params, preprocessing: Preprocessing) -> None:
        """Divide the rows of the index, and read labels and ids.

        Raises:
            SourceError: there are no train, validation or test rows, a label is not among the card's classes, a row
                has not exactly one label where the card states one, or a class of a local dataset has no train or no
                test row.
        """
        self.name, self.is_multi_label = card.id, card.is_multi_label
        self._preprocessing = preprocessing
        self._num_workers = params.execution.workers if params.execution.workers > 1 else 0
        facts = self._read(rows, FACTS)
        self.card = card = _complete(card, rows, facts) if card.local else card
        self.classes = list(card.classes)
        fitted, validated, test = self._divide(card, rows, facts, params)
        both = np.sort(np.concatenate([fitted, validated]))
        self.fitted, self.validated = (np.searchsorted(both, part) for part in (fitted, validated))
        self.train, self.test = (self._describe(rows.take(part), facts.take(part), len(rows)) for part in (both, test))
        if card.local:
            _require_classes(card, facts, train=fitted, test=test)

    def pick(self, rows: Rows, max_rows: int | None, seed: int) -> Rows:
        """Return at most `max_rows` of the rows."""
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(len(rows), generator=generator)[:max_rows].sort().values.numpy()
        picked: Rows = rows[drawn]
        return picked

    def targets(self, labels: Sequence[Sequence[str]]) -> Tensor:
        """(rows,) classes, or (rows, m) of 0 and 1 if a row may have several."""
        if not self.is_multi_label:
            return torch.tensor([self.classes.index(each[0]) for each in labels])
        return torch.tensor([[float(name in each) for name in self.classes] for each in labels])

    def decide(self, probabilities: Sequence[float], threshold: float) -> list[str]:
        """The predicted classes: those above the threshold, or the most probable one if a row has exactly one."""
        if self.is_multi_label:
            pairs = zip(self.classes, probabilities, strict=True)
            return [name for name, probability in pairs if probability > threshold]
        return [self.classes[probabilities.index(max(probabilities))]]

    def _read(self, rows: pa.Table, columns: Sequence[str]) -> pa.Table:
        facts = ShardStore(paths.SAMPLES / self.name).read(["id", *columns])
        return facts.take(pc.index_in(rows["id"], facts["id"]))

    def _divide(self, card: Card, rows: pa.Table, facts: pa.Table, params: Params) -> tuple[Rows, Rows, Rows]:
        """The training rows, the validation rows and the test rows, each ascending."""
        if card.fitted:
            train, test = (_of_splits(self.name, rows, splits) for splits in (card.fitted, card.scored))
        else:
            train, test = self._cut(rows, facts, params, "num_parts")
        if card.validated:
            return train, _of_splits(self.name, rows, card.validated), test
        fitted, validated = self._cut(rows.take(train), facts.take(train), params, "num_validation_parts")
        return train[fitted], train[validated], test

    def _cut(self, rows: pa.Table, facts: pa.Table, params: Params, setting: str) -> tuple[Rows, Rows]:
        """Divide rows by patients and image fingerprints; the second part is one of `transfer.<setting>` parts."""
        num_parts, keys = getattr(params.transfer, setting), self._group(rows, facts, params)
        try:
            return divide(facts["labels"].to_pylist(), keys, num_parts, params.transfer.division_seed)
        except SourceError as error:
            what = f"lower transfer.{setting}" if num_parts > 2 else "add rows, or remove it from transfer.benchmarks"
            raise SourceError(f"{self.name}: {error}; {what}") from None

    def _group(self, rows: pa.Table, facts: pa.Table, params: Params) -> list[str]:
        """The key of each row's group: its patient, or the images that look the same."""
        patients: list[str] = pc.struct_field(facts["groups"], "patient").to_pylist()
        if all(patients):
            return patients
        images = [row[0] for row in self._read(rows, _FINGERPRINTS)["images"].to_pylist()]
        fingerprints = group_images(
            np.array([image["phash"] for image in images], np.uint64),
            np.stack([np.frombuffer(image["thumbnail"], np.uint8) for image in images]),
            params.deduplicate.hamming_radius,
            params.deduplicate.thumbnail_distance,
        )
        pairs = zip(patients, fingerprints, strict=True)
        return [patient or f"fingerprint {number}" for patient, number in pairs]

    def _describe(self, rows: pa.Table, facts: pa.Table, num_all: int) -> Part:
        ids, labels = facts["id"].to_pylist(), facts["labels"].to_pylist()
        for row_id, own in zip(ids, labels, strict=True):
            if unknown := set(own).difference(self.classes):
                raise SourceError(f"{row_id}: label {min(unknown)!r} is not among the classes of its dataset's card")
        odd = next((row for row, each in enumerate(labels) if len(each) != 1), None)
        if odd is not None and not self.is_multi_label:
            raise SourceError(
                f"{ids[odd]}: has {len(labels[odd])} labels; expected one, because its card is not multi-label"
            )
        text = json.dumps([ids, labels, facts["groups"].to_pylist(), facts["images"].to_pylist()], default=bytes.hex)
        return Part(
            ids=ids,
            labels=labels,
            clusters=_number_clusters(facts),
            digest=hashlib.sha256(text.encode()).hexdigest(),
            images=Images(
                ShardStore(paths.SAMPLES).take(rows, num_groups=count_open_groups(self._num_workers)),
                self._preprocessing,
                MAX_CACHE_BYTES * len(rows) // num_all // max(1, self._num_workers),
            ),
            groups=number_groups(rows),
            num_workers=self._num_workers,
        )


def _complete(card: Card, rows: pa.Table, facts: pa.Table) -> Card:
    """The card of a local dataset, with the classes of its rows and without the splits that have no row."""
    splits = set(rows["split"].unique().to_pylist())
    classes = tuple(sorted({name for labels in facts["labels"].to_pylist() for name in labels}))
    if len(classes) < 2:
        raise SourceError(f"{card.id}: all rows are of one class; a benchmark needs two")
    if unknown := set(card.class_names).difference(classes):
        raise SourceError(f"{card.id}: no row has the class {min(unknown)!r}; correct local.{card.id}.class_names")
    update: dict[str, tuple[str, ...]] = {"classes": classes}
    if len(splits) == 1:
        update |= {"fitted": (), "validated": (), "scored": ()}
    else:
        update["validated"] = tuple(split for split in card.validated if split in splits)
    return card.model_copy(update=update)


def _require_classes(card: Card, facts: pa.Table, **parts: Rows) -> None:
    """Raise SourceError if a class has no row in a part; the name of a private dataset's class is not shown."""
    for part, numbers in parts.items():
        found = {name for labels in facts["labels"].take(numbers).to_pylist() for name in labels}
        for place, name in enumerate(card.classes, start=1):
            if name not in found:
                shown = f"class {place} of {len(card.classes)}, by name," if card.is_credentialed else f"class {name!r}"
                raise SourceError(f"{card.id}: {shown} has no {part} row; add rows of this class, or remove the class")


def _number_clusters(facts: pa.Table) -> Rows:
    patients = pc.struct_field(facts["groups"], "patient").to_pylist()
    pairs = zip(patients, facts["images"].to_pylist(), strict=True)
    keys = [("patient", patient) if patient else ("image", images[0]["pixels_sha256"]) for patient, images in pairs]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], np.int64)


def _of_splits(name: str, rows: pa.Table, splits: Sequence[str]) -> Rows:
    found: Rows = np.flatnonzero(pc.is_in(rows["split"], pa.array(splits)).to_numpy())
    if not len(found):
        raise SourceError(
            f"{name}: no row of split {' or '.join(splits)} in the mix; add its files to the local data folder"
        )
    return found
