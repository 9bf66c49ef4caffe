"""`deduplicate`: which rows are copies of others, and which training rows repeat evaluation rows.

It writes a decision for each such row and copies no row. Image bytes are not read, only fingerprints; the rules are in
`curate/duplicates.py`.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openmedq import paths
from openmedq.config import Licences, Params
from openmedq.curate import duplicates
from openmedq.curate.datasets import NormalizedDataset, load_datasets
from openmedq.curate.fingerprints import make_keys
from openmedq.curate.images import group_images
from openmedq.schema import Role
from openmedq.storage.publish import publish
from openmedq.storage.tables import VERDICT_TABLE, write_table

RANKS = {Role.EVALUATION: duplicates.EVALUATION, Role.VALIDATION: duplicates.VALIDATION, Role.TRAIN: duplicates.TRAIN}
FINGERPRINTS = ("pixels_sha256", "phash", "thumbnail")
THUMBNAIL_SIZE_BYTES = 1024

_COLUMNS = ["id", "split", "licence", "turns", "labels", *(f"images.list.element.{name}" for name in FINGERPRINTS)]


def run(params: Params) -> None:
    """Write data/verdicts: verdicts.parquet (VERDICT_SCHEMA) and counts.json ({dataset: {reason: rows}})."""
    datasets = load_datasets(params.mix.roles)
    table = duplicates.decide(collect(datasets, params), params.deduplicate.keep_out)
    with publish(paths.VERDICTS) as folder:
        folder.mkdir()
        write_table(table, folder / VERDICT_TABLE.name)
        text = json.dumps(_count(table, datasets), indent=2) + "\n"
        (folder / "counts.json").write_text(text, encoding="utf-8")


def collect(datasets: list[NormalizedDataset], params: Params) -> duplicates.Rows:
    """The rows of all datasets, with texts and images numbered in order of appearance."""
    texts: dict[bytes, int] = {}  # text key -> number
    images: dict[str, int] = {}  # decoded pixels -> number
    phashes: list[int] = []  # of each number
    thumbnails: list[bytes] = []
    ids: list[pa.Array] = []
    columns: dict[str, list[np.ndarray]] = defaultdict(lambda: [np.empty(0, np.int64)])
    num_rows = 0
    for place, dataset in enumerate(datasets):
        for batch in _read(dataset, params.policy.licences):
            shown = batch["images"].flatten()
            fingerprints = [shown.field(name).to_pylist() for name in FINGERPRINTS]
            for pixels, phash, thumbnail in zip(*fingerprints, strict=True):
                if pixels not in images:
                    images[pixels] = len(images)
                    phashes.append(phash)
                    thumbnails.append(thumbnail)
            keys = make_keys(batch["turns"], batch["labels"])
            ids.append(batch["id"])
            for name, numbers in {
                "datasets": [place] * len(batch),
                "ranks": [RANKS[role] for split in batch["split"].to_pylist() if (role := dataset.role_of(split))],
                "texts": [texts.setdefault(key, len(texts)) for key in keys],
                "shown_by": pc.list_parent_indices(batch["images"]).to_numpy() + num_rows,
                "pixels": [images[pixels] for pixels in fingerprints[0]],
            }.items():
                columns[name].append(np.array(numbers, np.int64))
            num_rows += len(batch)
    groups = group_images(
        np.array(phashes, np.uint64),
        np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, THUMBNAIL_SIZE_BYTES),
        params.deduplicate.hamming_radius,
        params.deduplicate.thumbnail_distance,
    )
    names = ("datasets", "ranks", "texts", "shown_by", "pixels")
    numbers_of = {name: np.concatenate(columns[name]) for name in names}
    all_ids = pa.chunked_array(ids, pa.string()).combine_chunks()
    return duplicates.Rows(ids=all_ids, **numbers_of, groups=groups[numbers_of["pixels"]])


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
