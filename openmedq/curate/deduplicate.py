"""`deduplicate`: which rows are copies of others, and which training rows repeat evaluation rows.

It writes a decision for each such row and copies no row. Image bytes are not read, only fingerprints; the rules are in
`curate/duplicates.py`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openmedq import paths
from openmedq.config import Licences, Params
from openmedq.curate import duplicates
from openmedq.curate.datasets import NormalizedDataset, load_datasets
from openmedq.curate.fingerprints import make_keys
from openmedq.curate.images import group_pictures
from openmedq.schema import Role
from openmedq.storage.publish import publish
from openmedq.storage.tables import VERDICT_TABLE, write_table

RANKS = {Role.EVALUATION: duplicates.EVALUATION, Role.VALIDATION: duplicates.VALIDATION, Role.TRAIN: duplicates.TRAIN}
FINGERPRINTS = ("pixels_sha256", "phash", "thumbnail")
THUMBNAIL_SIZE_BYTES = 1024

_COLUMNS = ["id", "split", "licence", "turns", "labels", *(f"images.list.element.{name}" for name in FINGERPRINTS)]


def run(params: Params) -> None:
    """Write data/verdicts: verdicts.parquet (VERDICT_SCHEMA) and counts.json ({dataset: {reason: rows}})."""
    settings = params.deduplicate
    datasets = load_datasets(params.mix.roles)
    images = _Images()
    rows = _Rows(images)
    for place, dataset in enumerate(datasets):
        for batch in _read(dataset, params.policy.licences):
            rows.add(batch, place, dataset)
    groups = group_pictures(*images.fingerprints(), settings.hamming_radius, settings.thumbnail_distance)
    table = duplicates.decide(rows.finish(groups), settings.keep_out)
    with publish(paths.VERDICTS) as folder:
        folder.mkdir()
        write_table(table, folder / VERDICT_TABLE.name)
        text = json.dumps(_count(table, datasets), indent=2) + "\n"
        (folder / "counts.json").write_text(text, encoding="utf-8")


class _Images:
    """The distinct images of all datasets, by decoded pixels, numbered in order of appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._phashes: list[int] = []
        self._thumbnails: list[bytes] = []

    def add(self, images: pa.StructArray) -> list[int]:
        """The numbers of the images; new images get the next numbers."""
        numbers = []
        columns = (images.field(name).to_pylist() for name in FINGERPRINTS)
        for pixels, phash, thumbnail in zip(*columns, strict=True):
            number = self._numbers.setdefault(pixels, len(self._numbers))
            if number == len(self._phashes):
                self._phashes.append(phash)
                self._thumbnails.append(thumbnail)
            numbers.append(number)
        return numbers

    def fingerprints(self) -> tuple[np.ndarray, np.ndarray]:
        """Perceptual hashes (N,) and thumbnails (N, 1024)."""
        thumbnails = np.frombuffer(b"".join(self._thumbnails), np.uint8)
        return np.array(self._phashes, np.uint64), thumbnails.reshape(-1, THUMBNAIL_SIZE_BYTES)


class _Rows:
    """Collects `duplicates.Rows` batch by batch."""

    def __init__(self, images: _Images) -> None:
        self._images = images
        self._texts: dict[bytes, int] = {}
        self._ids: list[pa.Array] = []
        self._columns: dict[str, list[np.ndarray]] = {
            name: [np.empty(0, np.int64)] for name in ("datasets", "ranks", "texts", "shown_by", "pixels")
        }
        self._num_rows = 0

    def add(self, batch: pa.RecordBatch, place: int, dataset: NormalizedDataset) -> None:
        """Add a batch of rows of the dataset at `place` in the catalogue."""
        keys = make_keys(batch["turns"], batch["labels"])
        shown = pc.list_parent_indices(batch["images"]).to_numpy()
        self._ids.append(batch["id"])
        new = {
            "datasets": np.full(len(batch), place),
            "ranks": np.array(
                [RANKS[role] for split in batch["split"].to_pylist() if (role := dataset.role_of(split))]
            ),
            "texts": np.array([self._texts.setdefault(key, len(self._texts)) for key in keys]),
            "shown_by": shown + self._num_rows,
            "pixels": np.array(self._images.add(batch["images"].flatten())),
        }
        for name, values in new.items():
            self._columns[name].append(values.astype(np.int64))
        self._num_rows += len(batch)

    def finish(self, groups: np.ndarray) -> duplicates.Rows:
        """All rows, given the group of each image."""
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        ids = pa.chunked_array(self._ids, pa.string()).combine_chunks()
        return duplicates.Rows(ids=ids, **columns, groups=groups[columns["pixels"]])


def _read(dataset: NormalizedDataset, policy: Licences) -> Iterator[pa.RecordBatch]:
    """The rows of a dataset that have a role and that the policy does not exclude.

    Evaluation rows are included whatever their licence, because weights may be scored under another policy.
    """
    unused = pa.array([split for split, role in dataset.roles.items() if role is None], pa.string())
    evaluated = pa.array([split for split, role in dataset.roles.items() if role is Role.EVALUATION], pa.string())
    for group in dataset.store.scan(_COLUMNS):
        rows = group.rows
        is_excluded = pc.is_valid(dataset.find_exclusions(rows["licence"], policy))
        is_excluded = pc.and_(is_excluded, pc.invert(pc.is_in(rows["split"], evaluated)))
        yield rows.filter(pc.invert(pc.or_(is_excluded, pc.is_in(rows["split"], unused))))


def _count(table: pa.Table, datasets: list[NormalizedDataset]) -> dict[str, dict[str, int]]:
    """Number of decisions by dataset and reason; an id begins with its dataset."""
    counts: dict[str, Counter[str]] = {dataset.id: Counter() for dataset in datasets}
    for row_id, reason in zip(table["id"].to_pylist(), table["reason"].to_pylist(), strict=True):
        counts[row_id.split("/", 1)[0]][reason] += 1
    return {name: dict(sorted(found.items())) for name, found in counts.items()}
