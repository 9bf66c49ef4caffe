"""Near copies of images at scale: time and peak memory up to the candidates, and the time to compare a candidate.

    PYTHONPATH=. python bench/dedup_images.py [--rows 3350000] [--evaluation 1700] [--folder IMAGES]

Fingerprints are generated: smooth random thumbnails, of which 8 % are exact and 5 % near copies. The index is compared
with brute force on 50,000 hashes. Candidates are pairs of the images below `--folder`, or of generated ones.
"""

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apart
import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openmedq.curate.hash_index import RADIUS, HashIndex
from openmedq.curate.image_comparison import COMPARED_PX, Start, compare, decode_gray
from openmedq.curate.image_views import SIDE, Gray, hash_thumbnails, make_views, whole_boxes
from openmedq.curate.images import ThumbnailFile, find_pairs
from openmedq.curate.near_images import Gallery
from openmedq.curate.reasons import Tier
from openmedq.storage.shards import Group

BATCH_ROWS = 20_000
NUM_CANDIDATES = 1000


def main() -> None:
    """Run all parts and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3_350_000, help="training images")
    parser.add_argument("--evaluation", type=int, default=1700, help="evaluation images")
    parser.add_argument("--folder", type=Path, help="images (*.jpg, *.png), of which candidates are made")
    arguments = parser.parse_args()
    images = _load(arguments.folder) if arguments.folder else [_draw_image(seed) for seed in range(100)]
    check_index()
    time_pairs(arguments.rows)
    time_search(arguments.rows, arguments.evaluation, images)
    time_comparison(images)


def check_index() -> None:
    """Compare the index with brute force."""
    draw = np.random.default_rng(0)
    stored = draw.integers(0, 2**64, 2000, dtype=np.uint64)
    queries = draw.integers(0, 2**64, 50_000, dtype=np.uint64)
    for number in range(len(queries) // 2):  # half of them within 12 bits
        bits = draw.choice(64, number % 13, replace=False).astype(np.uint64)
        queries[number] = stored[number % len(stored)] ^ np.bitwise_or.reduce(
            np.uint64(1) << bits, initial=np.uint64(0)
        )
    found = set(zip(*(side.tolist() for side in HashIndex(stored).search(queries)), strict=True))
    expected = {
        (query, place)
        for query, each in enumerate(queries)
        for place in np.flatnonzero(np.bitwise_count(stored ^ each) <= RADIUS).tolist()
    }
    print(f"index: {len(found & expected)} of {len(expected)} pairs of brute force, {len(found - expected)} others")


def time_pairs(num_rows: int) -> None:
    """Find the training images that look the same."""
    with tempfile.TemporaryFile() as file:
        stored = ThumbnailFile(file)
        phashes = []
        for hashes, thumbnails in _make_fingerprints(num_rows):
            for each in thumbnails:
                stored.append(each.tobytes())
            phashes.append(hashes)
        (left, _), times = apart.measure(lambda: find_pairs(np.concatenate(phashes), stored, 3, 6.0))
    _report(f"find {len(left)} pairs of {num_rows} images that look the same", times)


def time_search(num_rows: int, num_evaluation: int, images: list[Gray]) -> None:
    """Search all training images for copies of evaluation images, without decoding any."""
    shown = itertools.islice(itertools.cycle(images), num_evaluation)
    rows: list[dict[str, object]]
    rows = [{"pixels_sha256": f"{n}", "image": {"bytes": _encode(each)}} for n, each in enumerate(shown)]
    gallery, times = apart.measure(lambda: Gallery([_as_group(rows)]))
    _report(f"index {num_evaluation} images in {len(make_views(images[0]))} views", times)
    search = gallery.search(_as_groups(num_rows))
    num_candidates, times = apart.measure(lambda: sum(len(candidate.starts) for candidate in search))
    _report(f"search {num_rows} images, generated within the time: {num_candidates} candidates", times)


def time_comparison(images: list[Gray]) -> None:
    """Compare each image with others and with a scaled copy of itself."""
    others = list(itertools.islice(itertools.cycle(itertools.combinations(images, 2)), NUM_CANDIDATES))
    copies = [(own, cv2.resize(own, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)) for own in images[:100]]
    pairs: list[tuple[Any, Any]]
    for what, pairs in (("pairs of different images", others), ("scaled copies", copies)):
        tiers, times = apart.measure(partial(_find_tiers, pairs))
        _report(f"compare {len(tiers)} {what}, {tiers.count(Tier.NEAR_IMAGE)} taken for copies", times)


def _find_tiers(pairs: list[tuple[Any, Any]]) -> list[Tier | None]:
    return [compare(*pair, Start(np.eye(3))).tier for pair in pairs]


def _make_fingerprints(num_rows: int) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint8]]]:
    draw = np.random.default_rng(1)
    scale = cv2.resize(np.eye(9, dtype=np.float32), (9, SIDE), interpolation=cv2.INTER_CUBIC)
    for start in range(0, num_rows, BATCH_ROWS):
        count = min(BATCH_ROWS, num_rows - start)
        levels = 110 + 55 * (scale @ draw.normal(size=(count, 9, 9)).astype(np.float32) @ scale.T)
        thumbnails = np.clip(levels, 0, 255).astype(np.uint8)
        exact, near = count * 8 // 100, count * 5 // 100
        thumbnails[:exact] = thumbnails[count - exact :]
        thumbnails[exact : exact + near] = np.clip(thumbnails[count - near :].astype(int) + 3, 0, 255)
        yield hash_thumbnails(thumbnails, np.arange(count), whole_boxes(count)), thumbnails


def _as_groups(num_rows: int) -> Iterator[Group]:
    number = 0
    for hashes, thumbnails in _make_fingerprints(num_rows):
        yield _as_group(
            [
                {"pixels_sha256": f"t{number + place}", "phash": phash, "thumbnail": thumbnail.tobytes()}
                for place, (phash, thumbnail) in enumerate(zip(hashes.tolist(), thumbnails, strict=True))
            ]
        )
        number += len(hashes)


def _as_group(images: list[dict[str, object]]) -> Group:
    fields = {"pixels_sha256": pa.string(), "phash": pa.uint64(), "thumbnail": pa.binary()}
    fields |= {"image": pa.struct({"bytes": pa.binary()})}
    kind = pa.struct({name: fields[name] for name in images[0]})
    column = pa.ListArray.from_arrays(np.arange(len(images) + 1, dtype=np.int32), pa.array(images, kind))
    return Group("bench", "shard-00000.parquet", 0, pa.RecordBatch.from_arrays([column], ["images"]))


def _load(folder: Path) -> list[Gray]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    return [decode_gray(path.read_bytes(), COMPARED_PX) for path in paths[:: max(1, len(paths) // 300)]]


def _draw_image(seed: int) -> Gray:
    draw = np.random.default_rng(seed)
    levels = sum(
        (weight * cv2.resize(draw.normal(size=(side, side)), (384, 384), interpolation=cv2.INTER_CUBIC))
        for side, weight in ((5, 50), (24, 20), (120, 8))
    )
    return np.clip(110 + levels, 0, 255).astype(np.uint8)


def _encode(gray: Gray) -> bytes:
    return cv2.imencode(".png", gray, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _report(part: str, times: dict[str, float]) -> None:
    figures = "{seconds:.1f} s, {cpu_s:.1f} s of CPU; peak memory of the process so far {peak_mb:,.0f} MB"
    print(f"{part}: {figures.format(**times)}", flush=True)


if __name__ == "__main__":
    main()
