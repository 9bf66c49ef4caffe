"""Images for miniatures: gray fields with a mass, the outline of an organ, and surgical clips.

A `Figure` has the properties that questions ask about, `draw` shows them. Each property is clearly visible at 32 px.
Figures come in rounds with every combination of properties exactly once, so that properties are independent and a
constant answer with k options scores exactly 1/k on a round. A random texture makes perceptual hashes differ.
"""

import hashlib
import io
import itertools
import uuid
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX = 96

ORGANS = ("head", "chest", "abdomen")
POSITIONS = ("upper left", "upper right", "lower left", "lower right")  # in the image, not in the patient
NUM_CLIPS = (1, 2, 3)

Pixels = NDArray[np.uint8]
Field = NDArray[np.float32]

_ROWS, _COLUMNS = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float32)


@dataclass(frozen=True, slots=True)
class Figure:
    """The content of an image. `texture` is the seed of noise, jitter and gray levels, which have no meaning."""

    organ: str
    position: str
    is_large: bool
    is_bright: bool  # the field, not the mass
    num_clips: int
    texture: int


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a random generator for one purpose, independent of all others and equal on every machine."""
    digest = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def draw_uuid(random: np.random.Generator) -> str:
    """Draw an id of a record or an image, for datasets that publish UUIDs."""
    return str(uuid.UUID(bytes=random.bytes(16), version=4))


def draw_figures(seed: int, name: str, num_rounds: int) -> list[Figure]:
    """Return every combination of properties `num_rounds` times, each round in a random order."""
    random = generator(seed, name)
    figures = []
    for _ in range(num_rounds):
        combinations = list(itertools.product(ORGANS, POSITIONS, (False, True), (False, True), NUM_CLIPS))
        for index in random.permutation(len(combinations)):
            organ, position, is_large, is_bright, num_clips = combinations[index]
            texture = int(random.integers(2**62))
            figures.append(Figure(organ, position, is_large, is_bright, num_clips, texture))
    return figures


def shared_figure(seed: int) -> Figure:
    """Return the figure that several miniatures share, as several real datasets share images."""
    return draw_figures(seed, "shared", num_rounds=1)[0]


def with_shared_figure(figures: list[Figure], seed: int) -> list[Figure]:
    """Replace the figure with the combination of the shared figure by the shared figure."""
    shared = shared_figure(seed)
    for index, figure in enumerate(figures):
        if replace(figure, texture=shared.texture) == shared:
            return [*figures[:index], shared, *figures[index + 1 :]]
    raise ValueError("no figure has the combination of the shared one; expected a whole round")


def describe(figure: Figure) -> str:
    """Return a sentence on all properties of a figure but the organ."""
    size, level = "large" if figure.is_large else "small", "bright" if figure.is_bright else "dark"
    clips = "1 clip is" if figure.num_clips == 1 else f"{figure.num_clips} clips are"
    return f"A {size} mass in the {figure.position}, {level} background; {clips} seen."


def draw(figure: Figure) -> Pixels:
    """Draw a figure as gray levels (SIDE_PX, SIDE_PX)."""
    random = generator(figure.texture, "texture")
    field = np.full((SIDE_PX, SIDE_PX), 95.0 if figure.is_bright else 25.0, np.float32)
    field += _texture(random, cells=7) * 14 + random.normal(0, 3, field.shape).astype(np.float32)
    field += _organ(figure.organ, random) * 60

    row = (27 if figure.position.startswith("upper") else 61) + random.uniform(-4, 4)
    column = (27 if figure.position.endswith("left") else 69) + random.uniform(-4, 4)
    radius = (14 if figure.is_large else 6.5) + random.uniform(-1, 1)
    field = _blend(field, 235 + random.uniform(-10, 10), _disc(row, column, radius, random.uniform(0.85, 1.15)))

    for slot in range(figure.num_clips):  # from the left along the lower edge
        top, left = 84 + random.uniform(-1, 1), 12 + 30 * slot + random.uniform(-3, 3)
        field = _blend(field, 235, _box(top, top + 8, left, left + 13))
    return field.clip(0, 255).astype(np.uint8)


def draw_radiograph(random: np.random.Generator, *, has_opacity: bool, side_px: int) -> Pixels:
    """Draw a chest as gray levels (side_px, side_px): two dark lungs, optionally with a bright opacity in one."""
    field = 150 + _texture(random, cells=5) * 10 + random.normal(0, 4, (SIDE_PX, SIDE_PX)).astype(np.float32)
    columns = [28 + random.uniform(-3, 3), 68 + random.uniform(-3, 3)]
    for column in columns:
        field = _blend(field, 55 + random.uniform(-10, 10), _disc(50 + random.uniform(-3, 3), column, 17, 1.9))
    if has_opacity:
        row, column = 50 + random.uniform(-18, 18), columns[random.integers(2)] + random.uniform(-4, 4)
        field = _blend(field, 190 + random.uniform(-15, 15), _disc(row, column, 11 + random.uniform(-2, 2), 1.0))
    pixels = Image.fromarray(field.clip(0, 255).astype(np.uint8))
    return np.asarray(pixels.resize((side_px, side_px), Image.Resampling.BOX))


def encode_jpeg(pixels: Pixels, quality: int = 90, mode: str = "L") -> bytes:
    """Encode gray levels (H, W) or RGB (H, W, 3) as JPEG with the given mode."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def encode_png(pixels: Pixels) -> bytes:
    """Encode gray levels (H, W) or RGB (H, W, 3) as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def tint(pixels: Pixels, color: tuple[float, float, float]) -> Pixels:
    """Color gray levels (H, W) to RGB (H, W, 3)."""
    return (pixels[:, :, None] * np.asarray(color, np.float32)).clip(0, 255).astype(np.uint8)


def _texture(random: np.random.Generator, cells: int) -> Field:
    """Smooth noise of about unit variance: `cells` x `cells` random levels, resized to the image."""
    levels = Image.fromarray(random.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(levels.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC))


def _organ(organ: str, random: np.random.Generator) -> Field:
    """Draw a head as a ring (skull), a chest as a vertical bar (mediastinum), an abdomen as a horizontal bar."""
    if organ == "head":
        row, column = 44 + random.uniform(-1, 1), 48 + random.uniform(-1, 1)
        return _disc(row, column, 43, 0.93) - _disc(row, column, 36, 0.93)
    if organ == "chest":
        middle = 48 + random.uniform(-2, 2)
        return _box(2, 80, middle - 5, middle + 5)
    middle = 44 + random.uniform(-2, 2)
    return _box(middle - 5, middle + 5, 4, 92)


def _disc(row: float, column: float, radius: float, aspect: float) -> Field:
    """Return 1 inside and 0 outside, with an edge of one pixel; `aspect` is height over width at equal area."""
    stretch = aspect**0.5
    distance = np.hypot((_ROWS - np.float32(row)) / stretch, (_COLUMNS - np.float32(column)) * stretch)
    cover: Field = np.clip(np.float32(radius) - distance + 0.5, 0, 1).astype(np.float32)
    return cover


def _box(top: float, bottom: float, left: float, right: float) -> Field:
    inside = np.minimum(_ROWS - top, bottom - _ROWS), np.minimum(_COLUMNS - left, right - _COLUMNS)
    cover: Field = np.clip(np.minimum(inside[0], inside[1]) + 0.5, 0, 1).astype(np.float32)
    return cover


def _blend(field: Field, level: float, cover: Field) -> Field:
    return (field * (1 - cover) + np.float32(level) * cover).astype(np.float32)
