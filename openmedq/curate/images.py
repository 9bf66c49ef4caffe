"""Group images that look the same, without comparing all pairs and without missing one.

Two images look the same if their perceptual hashes differ in few bits and their thumbnails are similar, because blank
images all have the same hash. A group is a connected component of such pairs.

Thumbnails take 1 kB an image, so those of millions of images stay in a file (`ThumbnailFile`): only the ones of images
with near hashes are read, a few at a time.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import IO

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

HASH_BITS = 64

Hashes = NDArray[np.uint64]  # (N,)
Thumbnails = NDArray[np.uint8]  # (N, 1024): 32 x 32 gray, row by row
Labels = NDArray[np.int64]  # (N,)

THUMBNAIL_SIZE_BYTES = 1024

_COMPARED_AT_ONCE = 16_384  # pairs of thumbnails: 32 MB


class ThumbnailFile:
    """Thumbnails in an open temporary file, read on access: `thumbnails[numbers]` and `thumbnails[start:end]`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._count = 0

    def append(self, thumbnail: bytes) -> None:
        """Write the next thumbnail."""
        self._file.write(thumbnail)
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, numbers: slice | Labels) -> Thumbnails:
        self._file.flush()
        if not self._count:
            return np.empty((0, THUMBNAIL_SIZE_BYTES), np.uint8)
        # Mapped anew each time, because the pages of a map count as memory of the process until it is closed.
        mapped = np.memmap(self._file, np.uint8, "r", shape=(self._count, THUMBNAIL_SIZE_BYTES))
        return np.array(mapped[numbers])


def group_images(phashes: Hashes, thumbnails: Thumbnails, hamming_radius: int, thumbnail_distance: float) -> Labels:
    """The number of each image's group, (N,). `thumbnail_distance` is a mean absolute difference of gray levels."""
    # Thousands of blank images share a fingerprint: each pair of them would be listed.
    fingerprints = [phash.tobytes() + each.tobytes() for phash, each in zip(phashes, thumbnails, strict=True)]
    numbers, _ = pd.factorize(np.array(fingerprints, object))
    first = np.unique(numbers, return_index=True)[1]
    left, right = find_pairs(phashes[first], thumbnails[first], hamming_radius, thumbnail_distance)
    edges = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(first), len(first)))
    groups: Labels = connected_components(edges, directed=False)[1].astype(np.int64)
    return groups[numbers]


def find_pairs(
    phashes: Hashes, thumbnails: Thumbnails | ThumbnailFile, hamming_radius: int, thumbnail_distance: float
) -> tuple[Labels, Labels]:
    """All pairs of images that look the same, as two sorted arrays of numbers (P,), each pair once.

    Hashes that differ in at most r bits agree in one of r + 1 bands (pigeonhole principle), and the distance of two
    thumbnails is at least the difference of their sums. So it suffices to compare neighbors in (band, sum).
    """
    sums = np.concatenate([np.empty(0, np.int64), *(part.sum(axis=1, dtype=np.int64) for part in _read(thumbnails))])
    bound = int(thumbnail_distance * THUMBNAIL_SIZE_BYTES)  # sums of differences are integers
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
            found.append(pairs[sum_differences(thumbnails, pairs) <= bound])
    every = np.concatenate(found) if found else np.empty((0, 2), np.int64)
    every = np.unique(np.sort(every, axis=1), axis=0)
    return every[:, 0], every[:, 1]


def _read(thumbnails: Thumbnails | ThumbnailFile) -> Iterator[Thumbnails]:
    for start in range(0, len(thumbnails), _COMPARED_AT_ONCE):
        yield thumbnails[start : start + _COMPARED_AT_ONCE]


def sum_differences(thumbnails: Thumbnails | ThumbnailFile, pairs: NDArray[np.int64]) -> Labels:
    """Sums of absolute gray differences of pairs (P, 2) of thumbnails: (P,)."""
    sums = [np.empty(0, np.int64)]
    for start in range(0, len(pairs), _COMPARED_AT_ONCE):
        left, right = (thumbnails[side].astype(np.int16) for side in pairs[start : start + _COMPARED_AT_ONCE].T)
        sums.append(np.abs(left - right).sum(axis=1, dtype=np.int64))
    return np.concatenate(sums)


def _bands(num_bands: int) -> list[tuple[int, int]]:
    """(shift, width) in bits of the bands of about equal size that cover the hash."""
    edges = [HASH_BITS * band // num_bands for band in range(num_bands + 1)]
    return [(low, high - low) for low, high in pairwise(edges)]
