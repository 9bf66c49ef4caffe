"""An index of 64-bit image hashes that finds all within `RADIUS` bits of a query without comparing all pairs.

Multi-index hashing (Norouzi et al., arXiv:1307.2982): a hash is cut into three bands. If two hashes differ in at most 8
bits, they differ in at most 2 bits of some band (pigeonhole principle). The index lists each hash under all keys within
2 bits of its three bands, 716 in all, so a query searches one bucket of each band.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

RADIUS = 8  # bits

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]

_BANDS = ((0, 21), (21, 21), (42, 22))  # (shift, width) in bits
_BAND_RADIUS = RADIUS // len(_BANDS)
_COMPARED_AT_ONCE = 2**21  # pairs: 100 MB with their intermediate arrays


class HashIndex:
    """All stored hashes within RADIUS bits of a query are found, and no others."""

    def __init__(self, hashes: Hashes) -> None:
        self._hashes = hashes
        self._buckets = [_fill(hashes, shift, width) for shift, width in _BANDS]

    def search(self, queries: Hashes) -> tuple[Numbers, Numbers]:
        """Pairs (query, stored) of numbers of hashes, two sorted arrays (P,), each pair once."""
        found = [np.empty(0, np.int64)]
        for (shift, width), (starts, members) in zip(_BANDS, self._buckets, strict=True):
            keys = ((queries >> np.uint64(shift)) & np.uint64(2**width - 1)).astype(np.int64)
            counts = (starts[keys + 1] - starts[keys]).astype(np.int64)
            for part in _split(counts):
                asked = np.repeat(part, counts[part])
                firsts = np.cumsum(counts[part]) - counts[part]
                steps = np.arange(len(asked)) - np.repeat(firsts, counts[part])
                stored = members[starts[keys[asked]] + steps].astype(np.int64)
                is_near = np.bitwise_count(queries[asked] ^ self._hashes[stored]) <= RADIUS
                found.append(asked[is_near] * len(self._hashes) + stored[is_near])
        asked, stored = np.divmod(np.unique(np.concatenate(found)), max(1, len(self._hashes)))
        return asked, stored


def _fill(hashes: Hashes, shift: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The start of each bucket, (2^width + 1,), and the numbers of the hashes in the buckets, one after the other."""
    keys = ((hashes >> np.uint64(shift)) & np.uint64(2**width - 1)).astype(np.uint32)
    flips = [
        sum(1 << bit for bit in bits) for size in range(_BAND_RADIUS + 1) for bits in combinations(range(width), size)
    ]
    listed = (keys[:, None] ^ np.array(flips, np.uint32)).ravel()
    order = np.argsort(listed, kind="stable")
    starts = np.zeros(2**width + 1, np.int64)
    np.cumsum(np.bincount(listed, minlength=2**width), out=starts[1:])
    return starts, (order // len(flips)).astype(np.int32)


def _split(counts: Numbers) -> Iterator[Numbers]:
    """Numbers of queries, in parts with at most `_COMPARED_AT_ONCE` comparisons, unless one query has more."""
    asked = np.flatnonzero(counts)
    parts = np.cumsum(counts[asked]) // _COMPARED_AT_ONCE
    yield from np.split(asked, np.flatnonzero(np.diff(parts)) + 1) if len(asked) else ()
