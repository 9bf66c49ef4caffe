"""Which rows are copies, and which training rows repeat evaluation rows: verdicts, no copies of rows.

Reads what rows say and how their pictures look, never the pictures' bytes. The rules are `quality`'s.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openmedq import paths
from openmedq.config import Licences, Params
from openmedq.curate import verdicts
from openmedq.curate.fingerprints import make_keys
from openmedq.curate.gate import find_refusals
from openmedq.curate.images import group_pictures
from openmedq.curate.sets import DataSet, load_sets
from openmedq.schema import Role
from openmedq.storage.publish import publish

RANKS = {Role.EVALUATION: verdicts.EVALUATION, Role.VALIDATION: verdicts.VALIDATION, Role.TRAIN: verdicts.TRAIN}
PICTURE = tuple(f"pictures.list.element.{name}" for name in ("pixels_sha256", "phash", "thumbnail"))
THUMBNAIL_SIZE_BYTES = 1024


def run(params: Params) -> None:
    """Write data/verdicts: verdicts.parquet and counts.json ({set: {reason: rows}})."""
    dials = params.deduplicate
    sets = load_sets(params.mix.roles)
    album = _Album()
    rows = _Rows(album)
    for place, data_set in enumerate(sets):
        for batch in _read(data_set, params.policy.licences):
            rows.add(batch, place, data_set)
    groups = group_pictures(*album.looks(), dials.hamming_radius, dials.thumbnail_distance)
    table = verdicts.judge(rows.finish(groups), dials.keep_out)
    with publish(paths.VERDICTS) as folder:
        folder.mkdir()
        pq.write_table(table, folder / "verdicts.parquet", compression="zstd")
        text = json.dumps(_count(table, sets), indent=2) + "\n"
        (folder / "counts.json").write_text(text, encoding="utf-8")


class _Album:
    """The distinct pictures of all sets, by their decoded pixels, in order of appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._phashes: list[int] = []
        self._thumbnails: list[bytes] = []

    def add(self, pictures: pa.StructArray) -> list[int]:
        """Numbers of the pictures, new ones taken up."""
        numbers = []
        columns = (pictures.field(name).to_pylist() for name in ("pixels_sha256", "phash", "thumbnail"))
        for pixels, phash, thumbnail in zip(*columns, strict=True):
            number = self._numbers.setdefault(pixels, len(self._numbers))
            if number == len(self._phashes):
                self._phashes.append(phash)
                self._thumbnails.append(thumbnail)
            numbers.append(number)
        return numbers

    def looks(self) -> tuple[np.ndarray, np.ndarray]:
        """Perceptual hashes (N,) and thumbnails (N, 1024)."""
        thumbnails = np.frombuffer(b"".join(self._thumbnails), np.uint8)
        return np.array(self._phashes, np.uint64), thumbnails.reshape(-1, THUMBNAIL_SIZE_BYTES)


class _Rows:
    """Grows `verdicts.Rows` batch by batch."""

    def __init__(self, album: _Album) -> None:
        self._album = album
        self._texts: dict[bytes, int] = {}
        self._ids: list[pa.Array] = []
        self._columns: dict[str, list[np.ndarray]] = {
            name: [np.empty(0, np.int64)] for name in ("sets", "ranks", "texts", "shown_by", "pixels")
        }
        self._num_rows = 0

    def add(self, batch: pa.RecordBatch, place: int, data_set: DataSet) -> None:
        """Take up the rows of a batch of the set at `place`."""
        keys = make_keys(batch["turns"], batch["labels"])
        shown = pc.list_parent_indices(batch["pictures"]).to_numpy()
        self._ids.append(batch["id"])
        new = {
            "sets": np.full(len(batch), place),
            "ranks": np.array(
                [RANKS[role] for split in batch["split"].to_pylist() if (role := data_set.role_of(split))]
            ),
            "texts": np.array([self._texts.setdefault(key, len(self._texts)) for key in keys]),
            "shown_by": shown + self._num_rows,
            "pixels": np.array(self._album.add(batch["pictures"].flatten())),
        }
        for name, values in new.items():
            self._columns[name].append(values.astype(np.int64))
        self._num_rows += len(batch)

    def finish(self, groups: np.ndarray) -> verdicts.Rows:
        """All rows, with the group of each picture."""
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        ids = pa.chunked_array(self._ids, pa.string()).combine_chunks()
        return verdicts.Rows(ids=ids, **columns, groups=groups[columns["pixels"]])


def _read(data_set: DataSet, policy: Licences) -> Iterator[pa.RecordBatch]:
    """The rows of a set that have a role, and that the policy does not keep out.

    Evaluation rows are here whatever their licence: another policy may have the same weights answer them.
    """
    left_out = pa.array([split for split, role in data_set.roles.items() if role is None], pa.string())
    scored = pa.array([split for split, role in data_set.roles.items() if role is Role.EVALUATION], pa.string())
    for group in data_set.store.scan(["id", "split", "licence", "turns", "labels", *PICTURE]):
        rows = group.rows
        is_refused = pc.is_valid(find_refusals(data_set, rows["licence"], policy))
        is_refused = pc.and_(is_refused, pc.invert(pc.is_in(rows["split"], scored)))
        yield rows.filter(pc.invert(pc.or_(is_refused, pc.is_in(rows["split"], left_out))))


def _count(table: pa.Table, sets: list[DataSet]) -> dict[str, dict[str, int]]:
    """Verdicts by set and reason; an id begins with its set."""
    counts: dict[str, Counter[str]] = {data_set.id: Counter() for data_set in sets}
    for row_id, reason in zip(table["id"].to_pylist(), table["reason"].to_pylist(), strict=True):
        counts[row_id.split("/", 1)[0]][reason] += 1
    return {name: dict(sorted(found.items())) for name, found in counts.items()}
