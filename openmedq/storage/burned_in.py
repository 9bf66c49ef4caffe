"""A look for text that is burned into an image: names and dates on ultrasound and radiographs."""

import io

import numpy as np
import PIL.Image

BORDER = 0.2  # share of each side that is searched: overlays are in the corners
MIN_STEP = 100  # gray levels between neighboring pixels
MIN_STROKES = 4  # sharp strokes in a line of pixels
MAX_STROKE_PX = 12  # width of a stroke
MIN_LINES = 5  # neighboring lines of pixels with that many strokes: the height of a letter


def may_show_text(data: bytes) -> bool:
    """Whether lines near the border have many thin strokes, all much brighter than their background.

    It is a heuristic: it overlooks faint text, and thin bright structures can look like text.
    """
    gray = np.asarray(PIL.Image.open(io.BytesIO(data)).convert("L"), np.int16)
    height, width = gray.shape
    rows, columns = max(1, int(height * BORDER)), max(1, int(width * BORDER))
    strips = (gray[:rows], gray[-rows:], gray[rows:-rows, :columns], gray[rows:-rows, -columns:])
    return any(_has_strokes(strip) for strip in strips if strip.size)


def _has_strokes(strip: np.ndarray) -> bool:
    """Whether MIN_LINES neighboring lines of a part (H, W) have MIN_STROKES strokes each."""
    steps = np.diff(strip, axis=1)
    num_lines = 0
    for line in steps:
        rises, falls = np.flatnonzero(line >= MIN_STEP), np.flatnonzero(line <= -MIN_STEP)
        ends = np.searchsorted(falls, rises)  # the first fall after each rise
        has_end = ends < len(falls)
        widths = falls[ends[has_end]] - rises[has_end]
        num_strokes = len(np.unique(ends[has_end][widths <= MAX_STROKE_PX]))
        num_lines = num_lines + 1 if num_strokes >= MIN_STROKES else 0
        if num_lines == MIN_LINES:
            return True
    return False
