"""Decide on pixels whether one image is an edited copy of another, or only looks like it.

The images are aligned (OpenCV's ECC, affine), and blocks of their fine structure are correlated. In a copy the blocks
agree, except those under text, arrows or boxes, whose contrast is altered. In another slice of the series, or in
another patient, a part may agree, but many blocks have about the same contrast and another fine structure.
"""

from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from openmedq.curate.image_views import WHOLE, Box, Gray, at_centers, resize, to_unit
from openmedq.curate.reasons import Tier
from openmedq.errors import OpenMedQError

MIN_SIDE_PX = 48  # of an image that is compared; smaller ones show too little structure
COMPARED_PX = 384  # longer side of the evaluation image

# Measured on edited copies of real radiographs and scans, and on neighboring slices of a series.
AGREES = 0.9  # correlation of a block
DIFFERS = 0.8
ALTERED = 1.5  # factor of contrast, in a block that differs, from which it is annotated
COPY_AGREEMENT = 0.87  # share of blocks that agree, of those that are not annotated
COPY_COVERAGE = 0.4  # share of blocks that agree, of all
SERIES_AGREEMENT = 0.3

Matrix = NDArray[np.float64]  # (3, 3)
Floats = NDArray[np.float32]

_LEVELS = ((96, 5, 30, 4), (192, 3, 10, 6))  # longer side, blur, iterations, and rim in pixels
_BLOCK_PX = 12
_RIM_PX = 8  # along edges, where the blur takes up what is outside
_FINE, _COARSE = 2.0, 5.0  # sigmas of the blurs between which structure is compared, in pixels at COMPARED_PX
_MIN_DEVIATION = 2.0  # of gray levels in a block with structure
_LEAST_CONTRAST = 0.5  # differences below it are noise
_MIN_BLOCKS = 24
_SATURATED = 252
_MIN_LIKENESS = 0.65  # correlation of the aligned images
_EVENED_PX = 4.0  # sigma of the neighborhood that is brought to mean 0 and deviation 1 before alignment
_NOISE = 4.0  # gray levels
_MAX_MOVE = 0.15  # of width and height, from the start
_OUTLIERS = 0.25  # share of pixels that the last alignment ignores


cv2.setNumThreads(1)  # the worker processes use the cores


class Comparison(NamedTuple):
    """What two images are to each other, and the evidence."""

    tier: Tier | None  # NEAR_IMAGE: an edited copy; SAME_SERIES: much alike, as adjacent slices are
    agreement: float  # share of blocks that agree, of those that are not annotated


DIFFERENT = Comparison(None, 0.0)


class Start(NamedTuple):
    """Where to look for an evaluation image in a training image."""

    matrix: Matrix  # from the training image's unit square to the evaluation image's
    shown: Box = WHOLE  # part of the training image that shows it
    part: Box = WHOLE  # part of the evaluation image that is shown


def decode_gray(encoded: bytes, max_side_px: int) -> Gray:
    """Decode a stored image to gray levels, scaled down to at most `max_side_px`."""
    gray: Any = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if gray is None:
        raise OpenMedQError("data/samples: an image can't be decoded; write it again with `dvc repro -f -s normalize`")
    return _shrink(gray, max_side_px)


def compare(evaluation: Gray, training: Gray, start: Start) -> Comparison:
    """Align an evaluation image with a training image, and compare them."""
    left, top, right, bottom = _to_pixels(start.part, evaluation)
    own = _shrink(evaluation[top:bottom, left:right], COMPARED_PX)
    left, top, right, bottom = _to_pixels(start.shown, training)
    if min(*own.shape, right - left, bottom - top) < MIN_SIDE_PX:
        return DIFFERENT
    visible = np.zeros(training.shape, np.uint8)
    visible[top:bottom, left:right] = 255
    first = matrix = to_unit(start.part) @ start.matrix
    is_outlier = None
    for level in (*_LEVELS, _LEVELS[-1]):
        small = _shrink(own, level[0])
        other, mask, warp = _place(small, training, visible, matrix)
        if is_outlier is not None:
            mask[cv2.warpAffine(is_outlier, warp[:2], mask.shape[::-1], flags=cv2.INTER_NEAREST) > 0] = 0
        likeness, warp = _align(small, other, mask, warp, *level[1:])
        matrix = _to_matrix(warp, small, other)
        if likeness < _MIN_LIKENESS or not _is_near(matrix, first):
            return DIFFERENT
        if level is _LEVELS[-1]:
            is_outlier = _find_outliers(small, _warp(other, warp, small))
    other, mask, warp = _place(own, training, visible, matrix)
    is_shown: Any = cv2.warpAffine(
        mask, warp[:2], own.shape[::-1], flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, borderValue=0
    )
    return _judge(*_correlate_blocks(own, _warp(other, warp, own), is_shown))


def _judge(correlations: Floats, contrasts: Floats) -> Comparison:
    agrees = correlations >= AGREES
    if len(agrees) < _MIN_BLOCKS or not agrees.any():
        return DIFFERENT
    contrasts = np.maximum(contrasts, _LEAST_CONTRAST)
    ratios = contrasts[0] / contrasts[1]
    ratios /= np.median(ratios[agrees])
    is_altered = (correlations < DIFFERS) & (np.maximum(ratios, 1 / ratios) > ALTERED)
    agreement = float(agrees.sum() / (~is_altered).sum())
    if agreement >= COPY_AGREEMENT and agrees.mean() >= COPY_COVERAGE:
        return Comparison(Tier.NEAR_IMAGE, agreement)
    return Comparison(Tier.SAME_SERIES if agreement >= SERIES_AGREEMENT else None, agreement)


def _correlate_blocks(own: Gray, other: Gray, is_shown: Gray) -> tuple[Floats, Floats]:
    """Correlations (B,) and both contrasts (2, B) of the blocks of two aligned images with fine structure in either."""
    fine, coarse = _FINE, _COARSE
    if max(own.shape) < 0.6 * COMPARED_PX:  # a small image has finer structure
        fine, coarse = 0.6 * fine, 0.6 * coarse
    first, second = (
        cv2.GaussianBlur(levels, (0, 0), fine) - cv2.GaussianBlur(levels, (0, 0), coarse)
        for levels in (own.astype(np.float32), other.astype(np.float32))
    )
    rim = np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8)
    is_inner = cv2.erode(is_shown, rim, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    is_saturated = (own >= _SATURATED) != (other >= _SATURATED)
    mean_1, mean_2 = _average(first), _average(second)
    deviation_1 = np.sqrt(np.maximum(_average(first * first) - mean_1**2, 0))
    deviation_2 = np.sqrt(np.maximum(_average(second * second) - mean_2**2, 0))
    covariance = _average(first * second) - mean_1 * mean_2
    is_used = (_average(is_inner) > 0.99) & (_average(is_saturated) < 0.1)
    if not is_used.any():
        return np.empty(0, np.float32), np.empty((2, 0), np.float32)
    gain = np.sqrt((deviation_1[is_used] ** 2).sum() / max((deviation_2[is_used] ** 2).sum(), 1e-6))
    is_used &= np.maximum(deviation_1, deviation_2 * min(gain, 3.0)) > _MIN_DEVIATION
    correlations = covariance / (deviation_1 * deviation_2 + 1e-3)
    return correlations[is_used], np.stack([deviation_1[is_used], deviation_2[is_used]])


def _average(values: NDArray[np.generic]) -> Floats:
    """Means of blocks."""
    means: Any = cv2.boxFilter(values.astype(np.float32), -1, (_BLOCK_PX, _BLOCK_PX))
    blocks: Floats = means[_BLOCK_PX // 2 :: _BLOCK_PX, _BLOCK_PX // 2 :: _BLOCK_PX]
    return blocks


def _place(own: Gray, training: Gray, visible: Gray, matrix: Matrix) -> tuple[Gray, Gray, Matrix]:
    """The training image and its mask at about the scale of `own`, and the pixel in it of each pixel of `own`."""
    height, width = (
        min(there, max(8, round(here * abs(matrix[axis, axis]))))
        for axis, here, there in zip((1, 0), own.shape, training.shape, strict=True)
    )
    mask: Any = cv2.resize(visible, (width, height), interpolation=cv2.INTER_NEAREST)
    scale, unscale = np.diag([width, height, 1.0]), np.diag([1 / own.shape[1], 1 / own.shape[0], 1.0])
    return resize(training, width, height), mask, at_centers(scale @ np.linalg.inv(matrix) @ unscale)


def _to_matrix(warp: Matrix, own: Gray, other: Gray) -> Matrix:
    """The inverse of what `_place` does to a matrix."""
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    scale, unscale = np.diag([1 / other.shape[1], 1 / other.shape[0], 1.0]), np.diag([own.shape[1], own.shape[0], 1.0])
    placed = scale @ shift @ warp @ np.linalg.inv(shift) @ unscale
    is_regular = np.isfinite(placed).all() and abs(np.linalg.det(placed)) > 1e-3
    return np.linalg.inv(placed) if is_regular else np.full((3, 3), np.nan)


def _align(
    own: Gray, other: Gray, mask: Gray, warp: Matrix, blur: int, iterations: int, rim: int
) -> tuple[float, Matrix]:
    """The best correlation, and its warp; a rim is left out, where a border may be."""
    shift = np.array([[1.0, 0, rim], [0, 1.0, rim], [0, 0, 1]])
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, iterations, 1e-4)
    inner = np.ascontiguousarray(_even(own)[rim:-rim, rim:-rim])
    found: Any = (warp @ shift)[:2].astype(np.float32)
    try:
        likeness, found = cv2.findTransformECC(inner, _even(other), found, cv2.MOTION_AFFINE, criteria, mask, blur)
    except cv2.error:  # the images are too different
        return -1.0, warp
    return likeness, np.vstack([found, [0, 0, 1]]).astype(np.float64) @ np.linalg.inv(shift)


def _even(gray: Gray) -> Any:
    """The structure of an image at even contrast, so that bright text has no more weight than dark tissue."""
    levels = gray.astype(np.float32)
    levels -= cv2.GaussianBlur(levels, (0, 0), _EVENED_PX)
    return levels / (np.sqrt(cv2.GaussianBlur(levels * levels, (0, 0), _EVENED_PX)) + _NOISE)


def _is_near(matrix: Matrix, first: Matrix) -> bool:
    """Whether an alignment moves no corner by more than `_MAX_MOVE`."""
    corners = np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    moves = (matrix @ np.linalg.inv(first) @ corners - corners)[:2]
    return bool((np.abs(moves) <= _MAX_MOVE).all())  # False if not a number


def _warp(other: Gray, warp: Matrix, own: Gray) -> Gray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cast(Gray, cv2.warpAffine(other, warp[:2], own.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE))


def _find_outliers(own: Gray, other: Gray) -> Gray:
    """1 where aligned images differ most, beyond brightness and contrast."""
    first, second = (cv2.GaussianBlur(levels.astype(np.float32), (0, 0), 1.5) for levels in (own, other))
    first, second = first - first.mean(), second - second.mean()
    slope = (first * second).sum() / max((second * second).sum(), 1.0)
    apart = np.abs(first - slope * second)
    outliers = (apart > max(6.0, float(np.quantile(apart, 1 - _OUTLIERS)))).astype(np.uint8)
    return cast(Gray, cv2.dilate(outliers, np.ones((3, 3), np.uint8)))


def _shrink(gray: Gray, side_px: int) -> Gray:
    scale = side_px / max(gray.shape)
    if scale >= 1:
        return gray
    height, width = (max(1, round(side * scale)) for side in gray.shape)
    return resize(gray, width, height)


def _to_pixels(box: Box, gray: Gray) -> tuple[int, int, int, int]:
    height, width = gray.shape
    left, top, right, bottom = box
    return int(left * width), int(top * height), int(np.ceil(right * width)), int(np.ceil(bottom * height))
