"""Confirm on pixels that two images with near fingerprints (`curate/images.py`) are copies.

Slices of a scan on a dark field, and films of different patients, have near fingerprints but are no copies.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

import cv2
import numpy as np

from openmedq.curate.image_comparison import COMPARED_PX, MIN_SIDE_PX, Start, compare, decode_gray
from openmedq.curate.image_views import Gray, resize
from openmedq.curate.near_images import Place, read_images
from openmedq.curate.reasons import Tier

NUM_AT_ONCE = 512  # pairs whose images are in memory, as encoded

_MAX_DIFFERENCE = 2.0  # mean of gray levels, between two small images


def confirm_looks(
    samples: Path, pairs: Sequence[tuple[str, str]], places: Mapping[str, Place], executor: Executor
) -> Iterator[bool]:
    """Yield, for each pair of images, whether one is the other encoded again, scaled or slightly changed.

    Args:
        samples: folder of the datasets' shards.
        pairs: of `pixels_sha256`.
        places: where each of these images is stored.
        executor: compares the images.
    """
    for low in range(0, len(pairs), NUM_AT_ONCE):
        part = pairs[low : low + NUM_AT_ONCE]
        images = dict(
            read_images(samples, {key: places[key] for key in sorted({key for pair in part for key in pair})})
        )
        yield from executor.map(_confirm, [images[first] for first, _ in part], [images[second] for _, second in part])


def _confirm(first: bytes, second: bytes) -> bool:
    own, other = decode_gray(first, COMPARED_PX), decode_gray(second, COMPARED_PX)
    if min(*own.shape, *other.shape) < MIN_SIDE_PX:
        return _is_same(own, other)
    return compare(own, other, Start(np.eye(3))).tier is Tier.NEAR_IMAGE or _is_same(own, other)


def _is_same(own: Gray, other: Gray) -> bool:
    """Whether no part differs visibly; images of little structure have no blocks to compare."""
    height, width = (min(sides) for sides in zip(own.shape, other.shape, strict=True))
    first, second = (resize(each, width, height).astype(np.float32) for each in (own, other))
    apart = np.abs(cv2.blur(first - second, (4, 4)))
    return bool(apart.mean() <= _MAX_DIFFERENCE and apart.max() <= 10 * _MAX_DIFFERENCE)
