"""Group images that look the same, without comparing all pairs and without missing one.

Two images look the same if their perceptual hashes differ in few bits and their thumbnails are similar, because blank
images all have the same hash. A group is a connected component of such pairs.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

HASH_BITS = 64

Hashes = NDArray[np.uint64]  # (N,)
Thumbnails = NDArray[np.uint8]  # (N, 1024): 32 x 32 gray, row by row
Labels = NDArray[np.int64]  # (N,)

_COMPARED_AT_ONCE = 16_384  # pairs of thumbnails: 32 MB


def group_images(phashes: Hashes, thumbnails: Thumbnails, hamming_radius: int, thumbnail_distance: float) -> Labels:
    """The number of each image's group, (N,). `thumbnail_distance` is a mean absolute difference of gray levels."""
    numbers, first = _number_fingerprints(phashes, thumbnails)
    left, right = find_pairs(phashes[first], thumbnails[first], hamming_radius, thumbnail_distance)
    edges = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(first), len(first)))
    groups: Labels = connected_components(edges, directed=False)[1].astype(np.int64)
    return groups[numbers]


def find_pairs(
    phashes: Hashes, thumbnails: Thumbnails, hamming_radius: int, thumbnail_distance: float
) -> tuple[Labels, Labels]:
    """All pairs of images that look the same, as two sorted arrays of numbers (P,), each pair once.

    Hashes that differ in at most r bits agree in one of r + 1 bands (pigeonhole principle), and the distance of two
    thumbnails is at least the difference of their sums. So it suffices to compare neighbors in (band, sum).
    """
    sums = thumbnails.sum(axis=1, dtype=np.int64)
    bound = int(thumbnail_distance * thumbnails.shape[1])  # sums of differences are integers
    found = []
    for shift, width in _bands(hamming_radius + 1):
        keys = (phashes >> np.uint64(shift)) & np.uint64(2**width - 1)
        order = np.lexsort((sums, keys))
        keys, ordered_sums = keys[order], sums[order]
        alive = np.arange(len(order))
        step = 0
        while len(alive):  # pairs (i, i + step) of the order; i is dropped once its partner is too far
            step += 1
            alive = alive[: np.searchsorted(alive, len(order) - step)]
            partners = alive + step
            alive = alive[(keys[alive] == keys[partners]) & (ordered_sums[partners] - ordered_sums[alive] <= bound)]
            left, right = order[alive], order[alive + step]
            is_near = np.bitwise_count(phashes[left] ^ phashes[right]) <= hamming_radius
            pairs = np.stack([left[is_near], right[is_near]], axis=1)
            found.append(pairs[_differences(thumbnails, pairs) <= bound])
    every = np.concatenate(found) if found else np.empty((0, 2), np.int64)
    every = np.unique(np.sort(every, axis=1), axis=0)
    return every[:, 0], every[:, 1]


def _number_fingerprints(phashes: Hashes, thumbnails: Thumbnails) -> tuple[Labels, Labels]:
    """The number of each fingerprint, (N,), and its first image; thousands of blank images share one."""
    rows = np.ascontiguousarray(thumbnails)
    digests = [
        hashlib.blake2b(row.data, digest_size=16, salt=phash.to_bytes(8, "little")).digest()
        for row, phash in zip(rows, phashes.tolist(), strict=True)
    ]
    numbers, distinct = pd.factorize(np.array(digests, object))
    first = np.full(len(distinct), -1, np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    return numbers, first


def _differences(thumbnails: Thumbnails, pairs: NDArray[np.int64]) -> Labels:
    """Sums of absolute gray differences of pairs (P, 2) of thumbnails: (P,)."""
    sums = [np.empty(0, np.int64)]
    for start in range(0, len(pairs), _COMPARED_AT_ONCE):
        left, right = thumbnails[pairs[start : start + _COMPARED_AT_ONCE].T].astype(np.int16)
        sums.append(np.abs(left - right).sum(axis=1, dtype=np.int64))
    return np.concatenate(sums)


def _bands(num_bands: int) -> list[tuple[int, int]]:
    """(shift, width) in bits of the bands of about equal size that cover the hash."""
    edges = [HASH_BITS * band // num_bands for band in range(num_bands + 1)]
    return [(low, high - low) for low, high in pairwise(edges)]
