import numpy as np
import pytest

from openmedq.curate import hash_index
from openmedq.curate.hash_index import RADIUS, Hashes, HashIndex


def _flip(draw: np.random.Generator, hashes: Hashes, num_bits: int) -> Hashes:
    bits = np.argsort(draw.random((len(hashes), 64)), axis=1)[:, :num_bits].astype(np.uint64)
    return hashes ^ np.bitwise_or.reduce(np.uint64(1) << bits, axis=1, initial=np.uint64(0))


def _search_all(stored: Hashes, queries: Hashes) -> list[tuple[int, int]]:
    distances = np.bitwise_count(queries[:, None] ^ stored[None])
    return [tuple(pair) for pair in np.argwhere(distances <= RADIUS).tolist()]


@pytest.mark.parametrize("compared_at_once", [7, 2**21])
def test_finds_what_brute_force_finds(compared_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_index, "_COMPARED_AT_ONCE", compared_at_once)
    draw = np.random.default_rng(0)
    stored = draw.integers(0, 2**64, 40, dtype=np.uint64)
    stored[20:] = stored[:20]  # images share hashes
    queries = np.concatenate([_flip(draw, stored, count) for count in range(12)])
    found = HashIndex(stored).search(queries)
    assert list(zip(*(side.tolist() for side in found), strict=True)) == _search_all(stored, queries)


def test_an_empty_index_finds_nothing() -> None:
    index = HashIndex(np.empty(0, np.uint64))
    assert [len(side) for side in index.search(np.arange(3, dtype=np.uint64))] == [0, 0]
    assert [len(side) for side in index.search(np.empty(0, np.uint64))] == [0, 0]
