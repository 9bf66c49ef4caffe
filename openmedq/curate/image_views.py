"""What an edited copy of an image may look like, as hashes: views of evaluation images, regions of training images.

A view is an evaluation image as a copy may show it: mirrored, cropped, with a border, rotated, one half or one panel of
it. Views are rendered from the pixels, because evaluation images are few. A region is a part of a training image that
may show a whole evaluation image: without its border, or one panel of two. Regions are cut from the stored thumbnails,
so training images need not be decoded. Coordinates are shares of width and height, so an image is the unit square.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

Gray = NDArray[np.uint8]  # (height, width)
Box = tuple[float, float, float, float]  # left, top, right, bottom
Floats = NDArray[np.float32]
Weights = Callable[[int, int], Floats]  # of edges in steps: (K, 32)

SIDE = 32  # of a stored thumbnail
PATCH_SIDE = 16  # of the patches whose correlation is compared
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

_RENDERED_PX = 256
_DRAWN_PX = 128
_MAX_TRIM = 12  # rows or columns of a thumbnail
_FRAME = 3  # pixels of a thumbnail: a border of 10 % around the image
_FLAT_LEVELS = 6  # of gray, in a row that belongs to a border
_STEPS = 4  # edges of regions are multiples of 1/4 pixel of a thumbnail
_ALL_STEPS = SIDE * _STEPS + 1
_PANEL_EDGES = range(9, 23)  # columns of a thumbnail where two panels may meet
_MAX_STEP = 10  # of gray levels: panels differ in all rows, and anatomy differs much in a few
_MIN_CONTRAST = 2.0  # standard deviation of gray levels, below which a patch is blank
_DCT = dct(np.eye(SIDE), axis=0)[:8]  # (8, 32): the low frequencies of imagehash.phash
_MIRROR = np.array([[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


class View(NamedTuple):
    """A view of an evaluation image."""

    matrix: NDArray[np.float64]  # (3, 3), from the view's unit square to the image's
    fill: int  # gray level outside of the image
    part: Box = WHOLE  # of the image, for views of a part


class Regions(NamedTuple):
    """The R regions of N training images."""

    images: NDArray[np.int64]  # (R,)
    boxes: Floats  # (R, 4), in pixels of the thumbnail
    hashes: NDArray[np.uint64]  # (R,)
    is_panel: NDArray[np.bool_]  # (R,): a part of the image, not all of it within its border


def make_views(gray: Gray) -> list[View]:
    """The views in which an evaluation image is searched."""
    aspect = gray.shape[1] / gray.shape[0]
    views = [View(_zoom(scale, scale), 0) for scale in (1, 0.95, 0.9, 0.85, 0.8)]
    views += [View(_zoom(0.95, 1, shift, 0), 0) for shift in (-0.025, 0.025)]
    views += [View(_zoom(1, 0.95, 0, shift), 0) for shift in (-0.025, 0.025)]
    views += [View(_zoom(scale, scale), fill) for scale in (1.1, 1.2) for fill in (0, 128, 255)]
    turns = [_rotate(degrees, aspect, scale) for degrees in (-2.5, 2.5) for scale in (1, 1.05)]
    views += [View(turn, fill) for turn in turns for fill in (0, 255)]
    thumbnail = resize(gray, SIDE, SIDE)[None]
    views += [_cut(box, WHOLE) for box in _find_borders(thumbnail)[1]]
    views += [_cut(box, _to_box(box)) for box in _find_panels(thumbnail)[0]]
    return [*views, *(view._replace(matrix=_MIRROR @ view.matrix) for view in views)]


def resize(gray: Gray, width: int, height: int) -> Gray:
    """Scale an image down, by the mean of the pixels that each new one covers."""
    return cast(Gray, cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA))


def render_views(gray: Gray, views: Sequence[View]) -> NDArray[np.uint8]:
    """Thumbnails of views: (V, 32, 32)."""
    square = resize(gray, _RENDERED_PX, _RENDERED_PX)
    return np.stack([_draw(square, view) for view in views])


def make_regions(thumbnails: NDArray[np.uint8], phashes: NDArray[np.uint64]) -> Regions:
    """Regions of training images, given their thumbnails (N, 32, 32) and stored hashes (N,)."""
    count = len(thumbnails)
    bordered, trimmed = _find_borders(thumbnails)
    panels = _find_panels(thumbnails)
    each = np.repeat(np.arange(count), panels.shape[1])
    images = np.concatenate([np.arange(count), bordered, each])
    boxes = np.concatenate([whole_boxes(count), trimmed, panels.reshape(-1, 4)])
    hashes = np.concatenate([phashes, hash_thumbnails(thumbnails, images[count:], boxes[count:])])
    is_panel = np.arange(len(images)) >= count + len(bordered)
    shown = (thumbnails.std(axis=(1, 2)) >= _MIN_CONTRAST)[images]  # a blank image resembles all blank images
    return Regions(images[shown], boxes[shown], hashes[shown], is_panel[shown])


def whole_boxes(count: int) -> Floats:
    """Boxes of whole thumbnails: (N, 4)."""
    return np.tile(np.array([0, 0, SIDE, SIDE], np.float32), (count, 1))


def hash_thumbnails(thumbnails: NDArray[np.uint8], images: NDArray[np.int64], boxes: Floats) -> NDArray[np.uint64]:
    """Perceptual hashes of parts of thumbnails, close to `imagehash.phash` of these parts: (R,)."""
    low = _resample(thumbnails, images, boxes, _hash_weights).reshape(len(images), 64)
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def make_patches(thumbnails: NDArray[np.uint8], images: NDArray[np.int64], boxes: Floats) -> Floats:
    """Parts of thumbnails as vectors whose product is their correlation, zero for blank parts: (R, 256)."""
    patches = _resample(thumbnails, images, boxes, _patch_weights).reshape(len(images), PATCH_SIDE**2)
    patches -= patches.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(patches, axis=1, keepdims=True)
    is_drawn = norms >= _MIN_CONTRAST * PATCH_SIDE
    return np.where(is_drawn, patches / np.where(is_drawn, norms, 1), 0).astype(np.float32)


def _resample(thumbnails: NDArray[np.uint8], images: NDArray[np.int64], boxes: Floats, weights: Weights) -> Floats:
    """Parts of thumbnails, with rows and columns multiplied by the weights of their edges: (R, K, K)."""
    if not len(images):
        return np.empty((0, 0, 0), np.float32)
    edges = np.rint(boxes * _STEPS).astype(np.int64)
    columns = _multiply(lambda picked: thumbnails[images[picked]], edges[:, [0, 2]], weights)  # (R, 32, K)
    rows = _multiply(lambda picked: columns[picked].transpose(0, 2, 1), edges[:, [1, 3]], weights)
    return rows.transpose(0, 2, 1)


def _multiply(read: Callable[[NDArray[np.int64]], Any], edges: NDArray[np.int64], weights: Weights) -> Floats:
    """The last axis of values multiplied by weights of their edges; one product for all values with the same edges."""
    different, numbers = np.unique(edges[:, 0] * _ALL_STEPS + edges[:, 1], return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=len(different)))
    products = []
    for edge, picked in zip(different.tolist(), np.split(order, ends[:-1]), strict=True):
        values = read(picked).astype(np.float32)
        product = values.reshape(-1, SIDE) @ weights(*divmod(edge, _ALL_STEPS)).T
        products.append(product.reshape(len(values), values.shape[1], -1))
    found = np.empty((len(edges), *products[0].shape[1:]), np.float32)
    found[order] = np.concatenate(products)
    return found


@lru_cache(4096)
def _hash_weights(low: int, high: int) -> Floats:
    """DCT of 32 samples between two edges, interpolated linearly: (8, 32)."""
    start, end = low / _STEPS, high / _STEPS
    centers = np.clip(start + (np.arange(SIDE) + 0.5) * (end - start) / SIDE - 0.5, 0, SIDE - 1)
    left = np.minimum(centers.astype(int), SIDE - 2)
    table = np.zeros((SIDE, SIDE))
    table[np.arange(SIDE), left] = 1 - (centers - left)
    table[np.arange(SIDE), left + 1] = centers - left
    weights: Floats = (_DCT @ table).astype(np.float32)
    return weights


@lru_cache(4096)
def _patch_weights(low: int, high: int) -> Floats:
    """Means over 16 intervals between two edges: (16, 32)."""
    edges = np.linspace(low / _STEPS, high / _STEPS, PATCH_SIDE + 1)
    pixels = np.arange(SIDE)
    shares = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares = np.maximum(shares, 0)
    weights: Floats = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights


def _find_borders(thumbnails: NDArray[np.uint8]) -> tuple[NDArray[np.int64], Floats]:
    """The thumbnails that have a border (B,), and their boxes without it (B, 4); of two borders also without both."""
    outer, inner = _trim(thumbnails, 0), _trim(thumbnails, _FRAME)
    first = np.flatnonzero((outer != [0, 0, SIDE, SIDE]).any(axis=1))
    second = np.flatnonzero((inner != outer).any(axis=1))
    return np.concatenate([first, second]), np.concatenate([outer[first], inner[second]])


def _trim(thumbnails: NDArray[np.uint8], frame: int) -> Floats:
    """Thumbnails without borders of one color: boxes (N, 4). Edges between two pixels are estimated from their mix.

    A line is of one color if its pixels are, except `frame` pixels at its ends, which may be another border's. A side
    whose border is narrower than a line has the color of the widest border.
    """
    levels = thumbnails.astype(np.float32)
    inner = slice(frame, SIDE - frame)
    columns, rows = levels.transpose(0, 2, 1)[:, :, inner], levels[:, :, inner]
    # (4, N, 32, P): lines from the left, the top, the right, the bottom
    sides = np.stack([columns, rows, columns[:, ::-1], rows[:, ::-1]])
    is_flat = np.ptp(sides, axis=3) <= _FLAT_LEVELS
    widths = np.minimum(np.argmin(np.pad(is_flat, ((0, 0), (0, 0), (0, 1))), axis=2), _MAX_TRIM)  # (4, N)
    each = np.arange(len(levels))
    widest = np.argmax(widths, axis=0)
    found = np.empty((len(levels), 4), np.float32)
    for place, (lines, width) in enumerate(zip(sides, widths, strict=True)):
        own = np.where(width > 0, place, widest)
        color = sides[own, each, np.maximum(widths[own, each] - 1, 0)].mean(axis=1, keepdims=True)
        mixed, inside = lines[each, width], lines[each, width + 1]
        apart = inside - color
        share = ((inside - mixed) * apart).sum(axis=1) / np.maximum((apart * apart).sum(axis=1), 1)
        found[:, place] = width + np.clip(share, 0, 1)
    found[:, 2:] = SIDE - found[:, 2:]
    found[widths.max(axis=0) == 0] = (0, 0, SIDE, SIDE)
    trimmed: Floats = (np.rint(found * _STEPS) / _STEPS).astype(np.float32)
    return trimmed


def _find_panels(thumbnails: NDArray[np.uint8]) -> Floats:
    """Both sides of the middle and of the strongest edge, across and down: boxes (N, 8, 4)."""
    levels = thumbnails.astype(np.float32)
    low = np.zeros(len(levels), np.float32)
    high = np.full(len(levels), SIDE, np.float32)
    boxes = []
    for is_across in (True, False):
        lines = levels if is_across else levels.transpose(0, 2, 1)
        steps = np.minimum(np.abs(np.diff(lines, axis=2)), _MAX_STEP)
        jumps = steps.mean(axis=1)  # (N, 31): between columns x and x + 1
        both = jumps[:, :-1] + jumps[:, 1:]  # a gutter in column x + 1 has an edge on both sides
        edge = (np.argmax(both[:, _PANEL_EDGES.start - 1 : _PANEL_EDGES.stop - 1], axis=1) + _PANEL_EDGES.start).astype(
            np.float32
        )
        middle = np.full_like(edge, SIDE / 2)
        for end, start in ((middle, middle), (edge, edge + 1)):
            for first, last in ((low, end), (start, high)):
                boxes.append(np.stack([first, low, last, high] if is_across else [low, first, high, last], axis=1))
    return np.stack(boxes, axis=1)


def _draw(square: Gray, view: View) -> NDArray[np.uint8]:
    scale = np.diag([_RENDERED_PX, _RENDERED_PX, 1.0]) @ view.matrix @ np.diag([1 / _DRAWN_PX, 1 / _DRAWN_PX, 1.0])
    drawn: Any = cv2.warpAffine(
        square,
        at_centers(scale)[:2],
        (_DRAWN_PX, _DRAWN_PX),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=view.fill,
    )
    return resize(drawn, SIDE, SIDE)


def at_centers(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """A transformation of positions as one of pixel numbers; the center of pixel 0 is at 0.5."""
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    moved: NDArray[np.float64] = np.linalg.inv(shift) @ matrix @ shift
    return moved


def to_unit(box: Box) -> NDArray[np.float64]:
    """The transformation from an image to a part of it: the part's corners become the unit square's."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return np.array([[1 / width, 0, -left / width], [0, 1 / height, -top / height], [0, 0, 1]])


def _zoom(width: float, height: float, right: float = 0, down: float = 0) -> NDArray[np.float64]:
    return np.array([[width, 0, 0.5 + right - width / 2], [0, height, 0.5 + down - height / 2], [0, 0, 1]])


def _rotate(degrees: float, aspect: float, scale: float) -> NDArray[np.float64]:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle) / aspect], [np.sin(angle) * aspect, np.cos(angle)]]) * scale
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = 0.5 - turn @ [0.5, 0.5]
    return matrix


def _cut(box: Floats, part: Box) -> View:
    return View(np.linalg.inv(to_unit(_to_box(box))).astype(np.float64), 0, part)


def _to_box(box: Floats) -> Box:
    left, top, right, bottom = (box / SIDE).tolist()
    return left, top, right, bottom
