"""Groups of pictures that look the same. Never compares all with all, and misses no pair.

Two pictures look the same if their perceptual hashes differ in few bits and their thumbnails confirm it: the hash
of a blank picture says nothing, so the thumbnail decides. A group is whatever such pairs connect.
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


def group_pictures(phashes: Hashes, thumbnails: Thumbnails, hamming_radius: int, thumbnail_distance: float) -> Labels:
    """The number of each picture's group, (N,). `thumbnail_distance` is a mean of absolute gray levels."""
    looks, first = _number_looks(phashes, thumbnails)
    left, right = find_pairs(phashes[first], thumbnails[first], hamming_radius, thumbnail_distance)
    edges = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(first), len(first)))
    groups: Labels = connected_components(edges, directed=False)[1].astype(np.int64)
    return groups[looks]


def find_pairs(
    phashes: Hashes, thumbnails: Thumbnails, hamming_radius: int, thumbnail_distance: float
) -> tuple[Labels, Labels]:
    """All pairs of pictures that look the same, as two arrays of numbers (P,), each pair once, sorted.

    Hashes that differ in at most r bits agree in one of r + 1 bands (pigeonhole), and thumbnails whose sums differ by
    more than the bound differ by more than it. So only neighbors in (band, sum) are looked at, which misses no pair.
    """
    sums = thumbnails.sum(axis=1, dtype=np.int64)
    bound = int(thumbnail_distance * thumbnails.shape[1])  # the sums of differences are whole numbers
    found = []
    for shift, width in _bands(hamming_radius + 1):
        keys = (phashes >> np.uint64(shift)) & np.uint64(2**width - 1)
        order = np.lexsort((sums, keys))
        keys, ordered_sums = keys[order], sums[order]
        alive = np.arange(len(order))
        step = 0
        while len(alive):  # the pairs (i, i + step) of the order; i leaves when its partner is out of reach
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


def _number_looks(phashes: Hashes, thumbnails: Thumbnails) -> tuple[Labels, Labels]:
    """Number of each picture's look, and the first picture of each look: blank pictures by the thousand are one."""
    rows = np.ascontiguousarray(thumbnails)
    digests = [
        hashlib.blake2b(row.data, digest_size=16, salt=phash.to_bytes(8, "little")).digest()
        for row, phash in zip(rows, phashes.tolist(), strict=True)
    ]
    looks, distinct = pd.factorize(np.array(digests, object))
    first = np.full(len(distinct), -1, np.int64)
    first[looks[::-1]] = np.arange(len(looks))[::-1]
    return looks, first


def _differences(thumbnails: Thumbnails, pairs: NDArray[np.int64]) -> Labels:
    """Sums of absolute gray differences of pairs (P, 2) of thumbnails: (P,)."""
    sums = [np.empty(0, np.int64)]
    for start in range(0, len(pairs), _COMPARED_AT_ONCE):
        left, right = thumbnails[pairs[start : start + _COMPARED_AT_ONCE].T].astype(np.int16)
        sums.append(np.abs(left - right).sum(axis=1, dtype=np.int64))
    return np.concatenate(sums)


def _bands(num_bands: int) -> list[tuple[int, int]]:
    """(shift, width) in bits of bands of equal size that cover the hash."""
    edges = [HASH_BITS * band // num_bands for band in range(num_bands + 1)]
    return [(low, high - low) for low, high in pairwise(edges)]
