"""Find edited copies of evaluation images among training images: `find_copies`.

1. Evaluation images, which are few, are rendered in about 65 views (`curate/image_views.py`), and their hashes indexed.
2. The stored hashes and thumbnails of training images are streamed through the index. Pairs whose thumbnails correlate
   are candidates; nothing is decoded.
3. Candidates are decoded, row group by row group, aligned and compared (`curate/image_comparison.py`).

Found are copies that are encoded again, scaled, gray, cropped or bordered (5 and 10 % a side), brighter or darker, with
more or less contrast, rotated by a few degrees, mirrored, annotated (5 % of the area), or a panel beside another one.

Not found are copies that are turned by 90 degrees or upside down, cropped by more than about 10 % a side (except
halves), inverted, in false colors, bent, in figures of more than two panels, annotated over much of the image, or less
than 48 pixels high or wide; images with little structure, as drawings of a few lines; and other images of the same
study, which are no copies. About 3 in 1,000 of the most similar pairs of slices of finely sampled series are wrongly
called copies.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openmedq.curate.hash_index import HashIndex
from openmedq.curate.image_comparison import COMPARED_PX, Comparison, Start, compare, decode_gray
from openmedq.curate.image_views import (
    SIDE,
    WHOLE,
    Floats,
    Gray,
    View,
    hash_thumbnails,
    make_patches,
    make_regions,
    make_views,
    render_views,
    to_unit,
    whole_boxes,
)
from openmedq.curate.reasons import Tier
from openmedq.storage.decoding import keep_ahead
from openmedq.storage.shards import Group, ShardStore

MIN_CORRELATION = 0.75  # of the thumbnails of a view and a region, for a candidate
NUM_SEARCHED = 1024  # training images that are searched at once: their parts fit into the cache
NUM_AHEAD = 64  # candidates that wait for a worker

_KEY = "images.list.element.pixels_sha256"
_BYTES = "images.list.element.image.bytes"
EVALUATION_COLUMNS = (_KEY, _BYTES)
TRAINING_COLUMNS = (_KEY, "images.list.element.phash", "images.list.element.thumbnail")


class Copy(NamedTuple):
    """A training image that is a near copy of an evaluation image, or of its series; images by `pixels_sha256`."""

    evaluation: str
    training: str
    tier: Tier
    agreement: float  # share of blocks of pixels that agree


class Place(NamedTuple):
    """The row group that stores an image."""

    source: str
    shard: str
    group: int


class _Candidate(NamedTuple):
    key: str  # pixels_sha256 of the training image
    place: Place
    starts: Mapping[int, Start]  # by number of the evaluation image


def find_copies(
    samples: Path, evaluation: Iterable[Group], training: Iterable[Group], executor: Executor
) -> list[Copy]:
    """Pairs of an evaluation image and a training image that is a copy of it, or of its series, with other pixels.

    Needs 0.4 MB of memory for each evaluation image, and 1 kB for each candidate.

    Args:
        samples: folder of the datasets' shards.
        evaluation: rows with EVALUATION_COLUMNS.
        training: rows with TRAINING_COLUMNS, as `ShardStore.scan` yields them; rows may be left out.
        executor: compares candidates.

    Returns:
        The copies, sorted by images.
    """
    gallery = Gallery(evaluation)
    candidates = gallery.search(training) if gallery.keys else iter(())
    return sorted(
        Copy(gallery.keys[number], key, each.tier, each.agreement)
        for key, number, each in _compare_all(samples, gallery.images, candidates, executor)
        if each.tier is not None
    )


class Gallery:
    """The evaluation images, indexed by the hashes of their views."""

    def __init__(self, evaluation: Iterable[Group]) -> None:
        images: dict[str, Gray] = {}
        self._views: list[View] = []
        hashes, patches, shows = [], [], []
        for key, encoded in _flatten(evaluation):
            if key in images:
                continue
            gray = decode_gray(encoded, COMPARED_PX)
            views = make_views(gray)
            drawn = render_views(gray, views)
            each, whole = np.arange(len(views)), whole_boxes(len(views))
            shows.append(np.full(len(views), len(images)))
            hashes.append(hash_thumbnails(drawn, each, whole))
            patches.append(make_patches(drawn, each, whole))
            self._views += views
            images[key] = gray
        self.keys = list(images)
        self.images = list(images.values())
        if images:
            self._shows = np.concatenate(shows)  # (V,): number of the image
            self._patches = np.concatenate(patches)
            self._index = HashIndex(np.concatenate(hashes))

    def search(self, training: Iterable[Group]) -> Iterator[_Candidate]:
        """Training images that may be copies; an image that neighboring rows share comes once."""
        waiting: dict[str, tuple[Place, int, bytes]] = {}
        for group in training:
            shown = group.rows["images"].flatten()
            place = Place(group.source, group.shard, group.number)
            fields = [shown.field(name).to_pylist() for name in ("pixels_sha256", "phash", "thumbnail")]
            for key, phash, thumbnail in zip(*fields, strict=True):
                waiting.setdefault(key, (place, phash, thumbnail))
            if len(waiting) >= NUM_SEARCHED:
                yield from self._search(waiting)
                waiting = {}
        yield from self._search(waiting)

    def _search(self, images: Mapping[str, tuple[Place, int, bytes]]) -> Iterator[_Candidate]:
        keys = list(images)
        phashes = np.array([phash for _, phash, _ in images.values()], np.uint64)
        thumbnails = np.frombuffer(b"".join(each for *_, each in images.values()), np.uint8).reshape(-1, SIDE, SIDE)
        regions = make_regions(thumbnails, phashes)
        asked, views = self._index.search(regions.hashes)
        correlations = self._correlate(thumbnails, regions.images[asked], regions.boxes[asked], views)
        order = np.lexsort((-correlations, self._shows[views], regions.images[asked]))
        order = order[correlations[order] >= MIN_CORRELATION]
        pairs = np.stack([regions.images[asked[order]], self._shows[views[order]]], axis=1)
        _, first = np.unique(pairs, axis=0, return_index=True)  # the best of a pair
        starts: dict[int, dict[int, Start]] = {}
        for best in order[first].tolist():
            region, view = asked[best], views[best]
            image, number = int(regions.images[region]), int(self._shows[view])
            if keys[image] != self.keys[number]:
                start = _start(self._views[view], regions.boxes[region], bool(regions.is_panel[region]))
                starts.setdefault(image, {})[number] = start
        for image, found in starts.items():
            yield _Candidate(keys[image], images[keys[image]][0], found)

    def _correlate(self, thumbnails: Any, images: Any, boxes: Floats, views: Any) -> Floats:
        parts = [np.empty(0, np.float32)]
        for low in range(0, len(images), NUM_SEARCHED):
            part = slice(low, low + NUM_SEARCHED)
            patches = make_patches(thumbnails, images[part], boxes[part])
            parts.append((patches * self._patches[views[part]]).sum(axis=1))
        return np.concatenate(parts)


def _start(view: View, box: Floats, is_panel: bool) -> Start:
    left, top, right, bottom = (box / SIDE).tolist()
    matrix = view.matrix @ to_unit((left, top, right, bottom))
    if is_panel and view.part != WHOLE:  # a half resembles a half: the images are compared as a whole
        return Start(matrix)
    return Start(matrix, (left, top, right, bottom), view.part)


def _compare_all(
    samples: Path, images: Sequence[Gray], candidates: Iterable[_Candidate], executor: Executor
) -> Iterator[tuple[str, int, Comparison]]:
    """Compare each candidate; yields (key of the training image, number of the evaluation image, comparison)."""
    starts: dict[str, Mapping[int, Start]] = {}
    places: dict[str, Place] = {}
    for key, place, found in candidates:
        if key not in starts:
            starts[key], places[key] = found, place

    def submit() -> Iterator[tuple[str, Future[list[Comparison]]]]:
        for key, encoded in read_images(samples, places):
            own = [(images[number], start) for number, start in starts[key].items()]
            yield key, executor.submit(_compare_with, own, encoded)

    for key, future in keep_ahead(submit(), NUM_AHEAD):
        for number, comparison in zip(starts[key], future.result(), strict=True):
            yield key, number, comparison


def _compare_with(evaluation: Sequence[tuple[Gray, Start]], training: bytes) -> list[Comparison]:
    gray = decode_gray(training, 2 * COMPARED_PX)  # one of two panels has half of the size
    return [compare(own, gray, start) for own, start in evaluation]


def read_images(samples: Path, places: Mapping[str, Place]) -> Iterator[tuple[str, bytes]]:
    """Stored bytes by `pixels_sha256`, read row group by row group."""
    wanted: dict[tuple[str, str], dict[int, set[str]]] = {}
    for key, (source, shard, number) in places.items():
        wanted.setdefault((source, shard), {}).setdefault(number, set()).add(key)
    for group in ShardStore(samples).scan_groups(wanted, EVALUATION_COLUMNS):
        keys = wanted[group.source, group.shard][group.number]
        for key, encoded in _flatten([group]):
            if key in keys:
                keys.remove(key)
                yield key, encoded


def _flatten(groups: Iterable[Group]) -> Iterator[tuple[str, bytes]]:
    for group in groups:
        shown = group.rows["images"].flatten()
        keys, images = shown.field("pixels_sha256").to_pylist(), shown.field("image").field("bytes")
        for key, image in zip(keys, images, strict=True):
            yield key, image.as_py()
