"""Read what the duplicate decisions need to know about the rows of all datasets. Image bytes are not read."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openmedq import paths
from openmedq.config import Params
from openmedq.curate import overrides
from openmedq.curate.datasets import NormalizedDataset
from openmedq.curate.identity import Identities
from openmedq.curate.images import THUMBNAIL_SIZE_BYTES, ThumbnailFile, find_pairs, sum_differences
from openmedq.curate.links import EVALUATION, TRAIN, VALIDATION, Numbers, Pairs, Rows, link_pairs
from openmedq.curate.looks import confirm_looks
from openmedq.curate.near_images import EVALUATION_COLUMNS, TRAINING_COLUMNS, Place, find_copies
from openmedq.curate.near_texts import QuestionIndex, read_questions
from openmedq.curate.questions import Question, compare
from openmedq.curate.reasons import Tier
from openmedq.curate.text_search import search
from openmedq.schema import SAMPLE_SCHEMA, Role, Task
from openmedq.storage.decoding import open_executor
from openmedq.storage.shards import Group, ShardStore

RANKS = {Role.EVALUATION: EVALUATION, Role.VALIDATION: VALIDATION, Role.TRAIN: TRAIN}

IMAGES_PER_BATCH = 4  # of the images that a process may have ahead, a batch of texts takes the place of so many

_FINGERPRINTS = ("pixels_sha256", "phash", "thumbnail")
_SHOWN = [f"images.list.element.{name}" for name in _FINGERPRINTS]


class Batch(NamedTuple):
    """Rows that take part in the decisions."""

    dataset: NormalizedDataset
    place: int  # of the dataset in the catalogue
    first: int  # number of the first row
    rows: pa.RecordBatch
    group: Group  # that they are of


def collect(
    datasets: Sequence[NormalizedDataset],
    params: Params,
    thumbnails: ThumbnailFile,
    lines: Sequence[overrides.Line],
    samples: Path = paths.SAMPLES,
) -> Rows:
    """The rows of all datasets, with texts and images numbered in order of appearance, and images that are alike.

    `lines` are those of `deduplicate.overrides`, and `samples` is the folder of the datasets' shards.
    """
    texts: dict[bytes, int] = {}  # text key -> number
    pixels: dict[bytes, int] = {}  # decoded pixels -> number
    looks: dict[bytes, int] = {}  # digest of perceptual hash and thumbnail -> number
    phashes: list[int] = []  # of each look
    stored: list[tuple[str, Place]] = []  # of each look, its first image
    ids: list[pa.Array] = []
    columns: dict[str, list[Numbers]] = defaultdict(lambda: [np.empty(0, np.int64)])
    identities = Identities()
    copies = []  # (row, position in evaluation_ids, share)
    index, evaluation_ids = _index_questions(datasets, params, samples)
    with open_executor(params.execution) as (executor, num_ahead):
        for batch, (keys, found) in search(
            index, _scan_texts(datasets, params), executor, num_ahead // IMAGES_PER_BATCH
        ):
            rows, first = batch.rows, batch.first
            shown = rows["images"].flatten()
            where = Place(*batch.group[:3])
            own: dict[str, list[int]] = {"pixels": [], "looks": []}
            fingerprints = [shown.field(name).to_pylist() for name in _FINGERPRINTS]
            for sha256, phash, thumbnail in zip(*fingerprints, strict=True):
                own["pixels"].append(pixels.setdefault(bytes.fromhex(sha256), len(pixels)))
                look = hashlib.blake2b(thumbnail, digest_size=16, salt=phash.to_bytes(8, "little")).digest()
                own["looks"].append(looks.setdefault(look, len(looks)))
                if len(looks) > len(phashes):
                    phashes.append(phash)
                    stored.append((sha256, where))
                    thumbnails.append(thumbnail)
            ids.append(rows["id"])
            for name, numbers in {
                "datasets": [batch.place] * len(rows),
                "ranks": _list_ranks(batch),
                "texts": [texts.setdefault(key, len(texts)) for key in keys],
                **own,
                "shown_by": pc.list_parent_indices(rows["images"]).to_numpy() + first,
            }.items():
                columns[name].append(np.array(numbers, np.int64))
            identities.add(batch.dataset.id, rows, first)
            copies += [(first + row, other, share) for row, other, share in found]
        numbered = {
            name: np.concatenate(columns[name])
            for name in ("datasets", "ranks", "texts", "shown_by", "pixels", "looks")
        }
        first_shown = np.unique(numbered["pixels"], return_index=True)[1]
        pairs = [
            _pair_looks(np.array(phashes, np.uint64), thumbnails, stored, params, samples, executor),
            *_pair_images(datasets, params, samples, pixels, numbered["looks"][first_shown], executor),
        ]
    all_ids = pa.chunked_array(ids, pa.string()).combine_chunks()
    of_evaluation = pc.index_in(evaluation_ids, all_ids).to_pylist()
    path = Path(params.deduplicate.overrides)
    near = link_pairs(Tier.NEAR_TEXT, ((row, of_evaluation[other], share) for row, other, share in copies))
    return Rows(
        ids=all_ids,
        **numbered,
        pairs=pairs,
        links=[near, *identities.link()],
        overrides=overrides.resolve(path, lines, all_ids, numbered["ranks"] == EVALUATION),
    )


def _scan_texts(
    datasets: Sequence[NormalizedDataset], params: Params
) -> Iterator[tuple[Batch, pa.RecordBatch, pa.Array]]:
    """All rows, with their texts, and which of them could be near copies of evaluation questions without images."""
    for batch in scan(datasets, params, [*_SHOWN, "turns", "labels"], with_names=True):
        asked = np.flatnonzero(_has_no_image(batch.rows) & (_list_ranks(batch) != EVALUATION))
        yield batch, batch.rows.select(["turns", "labels"]), pa.array(asked)


def _list_ranks(batch: Batch) -> Numbers:
    splits = batch.rows["split"].dictionary_encode()
    ranks = [RANKS[role] for split in splits.dictionary.to_pylist() if (role := batch.dataset.role_of(split))]
    found: Numbers = np.array(ranks, np.int64)[splits.indices.to_numpy()]
    return found


def scan(
    datasets: Sequence[NormalizedDataset], params: Params, columns: Sequence[str], *, with_names: bool = False
) -> Iterator[Batch]:
    """The rows that have a role and that the policy does not exclude, with id, split and the given columns.

    Evaluation rows are included whatever their licence, because weights may be scored under another policy.
    """
    first = 0
    for place, dataset in enumerate(datasets):
        unused, evaluated = dataset.splits_of(None), dataset.splits_of(Role.EVALUATION)
        names = Identities.columns(dataset.id) if with_names else []
        for group in dataset.store.scan(["id", "split", "licence", *columns, *names]):
            rows = group.rows
            is_excluded = pc.is_valid(dataset.find_exclusions(rows["licence"], params.policy.licences))
            is_excluded = pc.and_(is_excluded, pc.invert(pc.is_in(rows["split"], evaluated)))
            rows = rows.filter(pc.invert(pc.or_(is_excluded, pc.is_in(rows["split"], unused))))
            yield Batch(dataset, place, first, rows, group._replace(rows=rows))
            first += len(rows)


def compare_rows(
    datasets: Sequence[NormalizedDataset], params: Params, pairs: Numbers
) -> Iterator[tuple[int, int, float]]:
    """The near texts among pairs of rows that share an image (P, 2), with the share of equal words."""
    questions: dict[int, list[Question]] = {}
    wanted = np.unique(pairs)
    if not len(wanted):
        return
    for _, _, first, rows, _ in scan(datasets, params, ["turns"]):
        own = wanted[(wanted >= first) & (wanted < first + len(rows))]
        turns = rows["turns"].take(pa.array(own - first))
        questions.update({int(row): [] for row in own})
        parents = pc.list_parent_indices(turns).to_pylist()
        for parent, question in zip(parents, read_questions(pc.list_flatten(turns)), strict=True):
            questions[int(own[parent])].append(question)
    for row, other in pairs.tolist():
        shares = [compare(one, two, is_image_same=True) for one in questions[row] for two in questions[other]]
        share = max((share for share in shares if share is not None), default=None)
        if share is not None:
            yield row, other, share


def _index_questions(
    datasets: Sequence[NormalizedDataset], params: Params, samples: Path
) -> tuple[QuestionIndex, pa.Array]:
    """The index of the evaluation rows without images, by position in the returned ids."""
    splits = {dataset.id: dataset.splits_of(Role.EVALUATION) for dataset in datasets}
    wanted: dict[tuple[str, str], list[int]] = {}
    for dataset, _, _, rows, group in scan(datasets, params, []):
        if pc.any(pc.is_in(rows["split"], splits[dataset.id])).as_py():
            wanted.setdefault((group.source, group.shard), []).append(group.number)
    ids, turns = [], []
    columns = ["id", "split", "turns", "images.list.element.image_id"]
    for group in ShardStore(samples).scan_groups(wanted, columns):
        is_evaluated = pc.is_in(group.rows["split"], splits[group.source])
        rows = group.rows.filter(pc.and_(is_evaluated, pa.array(_has_no_image(group.rows))))
        ids.append(rows["id"])
        turns.append(rows["turns"])
    all_ids = pa.chunked_array(ids, pa.string()).combine_chunks()
    all_turns = pa.concat_arrays([*turns, pa.array([], SAMPLE_SCHEMA.field("turns").type)])
    return QuestionIndex(all_turns, np.arange(len(all_ids))), all_ids


def _has_no_image(rows: pa.RecordBatch) -> NDArray[np.bool_]:
    return np.asarray(pc.fill_null(pc.equal(pc.list_value_length(rows["images"]), 0), True))


def _pair_looks(
    phashes: NDArray[np.uint64],
    thumbnails: ThumbnailFile,
    stored: Sequence[tuple[str, Place]],
    params: Params,
    samples: Path,
    executor: Executor,
) -> Pairs:
    """The looks that are alike, on their pixels too; evidence: 1 - mean difference of gray levels / 255."""
    settings = params.deduplicate
    left, right = find_pairs(phashes, thumbnails, settings.hamming_radius, settings.thumbnail_distance)
    keys = [(stored[one][0], stored[other][0]) for one, other in zip(left.tolist(), right.tolist(), strict=True)]
    places = {key: place for number in np.union1d(left, right).tolist() for key, place in [stored[number]]}
    is_same = np.array(list(confirm_looks(samples, keys, places, executor)), np.bool_)
    left, right = left[is_same], right[is_same]
    differences = sum_differences(thumbnails, np.stack([left, right], axis=1)) / THUMBNAIL_SIZE_BYTES
    return Pairs(Tier.SAME_LOOK, left, right, (1 - differences / 255).astype(np.float32))


def _pair_images(
    datasets: Sequence[NormalizedDataset],
    params: Params,
    samples: Path,
    pixels: Mapping[bytes, int],
    looks: Numbers,
    executor: Executor,
) -> Iterator[Pairs]:
    """Near copies of the images of open and closed questions, and images of their series; of other tasks none.

    `pixels` are the numbers of `pixels_sha256`, and `looks` those of the looks of these numbers.
    """
    if not params.deduplicate.near_images:
        return
    asked = [dataset for dataset in datasets if Role.EVALUATION in dataset.roles.values()]
    copies = find_copies(
        samples,
        _scan_images(asked, params, [*EVALUATION_COLUMNS, "task"], is_evaluation=True),
        _scan_images(datasets, params, TRAINING_COLUMNS, is_evaluation=False),
        executor,
    )
    for tier in (Tier.NEAR_IMAGE, Tier.SAME_SERIES):
        own = [each for each in copies if each.tier is tier]
        left, right = (
            looks[[pixels[bytes.fromhex(key)] for key in keys]]
            for keys in ([each.evaluation for each in own], [each.training for each in own])
        )
        yield Pairs(tier, left, right, np.array([each.agreement for each in own], np.float32))


def _scan_images(
    datasets: Sequence[NormalizedDataset], params: Params, columns: Sequence[str], *, is_evaluation: bool
) -> Iterator[Group]:
    """The rows of questions of evaluation splits, or the rows of other splits."""
    for dataset, _, _, rows, group in scan(datasets, params, columns):
        is_wanted = pc.equal(pc.is_in(rows["split"], dataset.splits_of(Role.EVALUATION)), is_evaluation)
        if is_evaluation:
            is_wanted = pc.and_(is_wanted, pc.equal(rows["task"], Task.VQA.value))
        yield group._replace(rows=rows.filter(is_wanted))
