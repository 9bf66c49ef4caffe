from itertools import combinations
from tempfile import TemporaryFile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from openmedq.curate import images
from openmedq.curate.images import ThumbnailFile, find_pairs, group_images

Album = tuple[NDArray[np.uint64], NDArray[np.uint8]]


@st.composite
def albums(draw: st.DrawFn) -> Album:
    """Images in clusters: hashes a few bits apart, thumbnails a few gray levels apart; some are equal."""
    centers = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3))
    hashes, thumbnails = [], []
    for _ in range(draw(st.integers(0, 25))):
        flips = draw(st.lists(st.integers(0, 63), max_size=5))
        mask = sum(1 << bit for bit in set(flips))
        hashes.append(draw(st.sampled_from(centers)) ^ mask)
        thumbnail = np.full(1024, draw(st.sampled_from([0, 100, 104, 255])), np.uint8)
        thumbnail[: draw(st.sampled_from([0, 511, 512, 513]))] += np.uint8(draw(st.sampled_from([0, 4, 8, 12])))
        thumbnails.append(thumbnail)
    return np.array(hashes, np.uint64), np.array(thumbnails, np.uint8).reshape(-1, 1024)


def _compare_all(album: Album, radius: int, distance: float) -> list[tuple[int, int]]:
    hashes, thumbnails = album
    return [
        (i, j)
        for i, j in combinations(range(len(hashes)), 2)
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= radius
        and np.abs(thumbnails[i].astype(float) - thumbnails[j]).mean() <= distance
    ]


@given(albums(), st.integers(0, 8), st.sampled_from([0.0, 2.0, 4.0, 5.9999, 6.0]))
@settings(max_examples=80)
def test_banding_finds_what_brute_force_finds(album: Album, radius: int, distance: float) -> None:
    found = find_pairs(*album, radius, distance)
    assert list(zip(*(side.tolist() for side in found), strict=True)) == _compare_all(album, radius, distance)


@given(albums(), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_groups_are_components_in_any_order(album: Album, random) -> None:
    hashes, thumbnails = album
    groups = group_images(hashes, thumbnails, 3, 6.0)
    assert len(groups) == len(hashes)
    for i, j in _compare_all(album, 3, 6.0):
        assert groups[i] == groups[j]
    order = list(range(len(hashes)))
    random.shuffle(order)
    shuffled = group_images(hashes[order], thumbnails[order], 3, 6.0)
    partition = {frozenset(np.flatnonzero(groups == label).tolist()) for label in set(groups.tolist())}
    places = np.array(order, np.int64)
    assert {frozenset(places[shuffled == label].tolist()) for label in set(shuffled.tolist())} == partition


def test_thumbnails_in_a_file_give_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_COMPARED_AT_ONCE", 7)
    draw = np.random.default_rng(0)
    hashes = np.repeat(draw.integers(0, 2**64, 10, dtype=np.uint64), 5) ^ draw.integers(0, 8, 50, dtype=np.uint64)
    thumbnails = np.repeat(draw.integers(0, 200, (10, 1024), dtype=np.uint8), 5, axis=0)
    thumbnails += draw.integers(0, 14, (50, 1), dtype=np.uint8)
    expected = [side.tolist() for side in find_pairs(hashes, thumbnails, 3, 6.0)]
    assert len(expected[0]) > 10
    with TemporaryFile() as file:
        stored = ThumbnailFile(file)
        assert len(find_pairs(hashes[:0], stored, 3, 6.0)[0]) == 0
        for thumbnail in thumbnails:
            stored.append(thumbnail.tobytes())
        assert (len(stored), stored[np.array([3, 1])].tolist()) == (50, thumbnails[[3, 1]].tolist())
        assert [side.tolist() for side in find_pairs(hashes, stored, 3, 6.0)] == expected


@pytest.mark.timeout(60)
def test_thousands_of_blank_pictures_are_no_trouble() -> None:
    hashes = np.zeros(20_000, np.uint64)
    thumbnails = np.repeat(np.arange(20_000, dtype=np.uint16)[:, None] % 200, 1024, axis=1).astype(np.uint8)
    assert len(set(group_images(hashes, thumbnails, 3, 0.5).tolist())) == 200
