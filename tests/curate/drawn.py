"""Images that look like slices of a scan, and edits of them, for tests of near copies."""

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageDraw, ImageEnhance
from PIL.Image import Image, Resampling, Transpose

from openmedq.config import Normalize
from openmedq.storage.images import encode as encode_for_storage
from openmedq.storage.shards import ShardStore
from tests.stages import toyset
from tests.storage.drawing import save

SIDE_PX = 256
GROUP_ROWS = 3


def draw_slice(seed: int, level: int = 0) -> Image:
    """A body with organs and tissue; slices of one seed differ in noise, and by their level in the organs' shapes."""
    anatomy = np.random.default_rng(seed)
    noise = np.random.default_rng((seed, level))
    coarse, tissue = (_upscale(anatomy.normal(size=(side, side))) for side in (5, 24))
    levels = 90 + 25 * coarse + 12 * tissue
    image = PIL.Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
    drawing = ImageDraw.Draw(image)
    for x, y, radius, gray in zip(
        *anatomy.uniform(0.2, 0.8, (2, 9)), anatomy.uniform(8, 30, 9), anatomy.integers(30, 220, 9), strict=True
    ):
        grown = radius * (1 + 0.15 * level)
        x, y = x * SIDE_PX, y * SIDE_PX
        drawing.ellipse((x - grown, y - radius, x + grown, y + radius), fill=int(gray))
    speckle = _upscale(noise.normal(size=(96, 96)))
    return PIL.Image.fromarray(np.clip(np.asarray(image) + 5 * speckle, 0, 255).astype(np.uint8))


def encode(image: Image, quality: int = 92) -> bytes:
    return save(image, "JPEG", quality=quality)


def _upscale(values: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = PIL.Image.fromarray(values.astype(np.float32)).resize((SIDE_PX, SIDE_PX), Resampling.BICUBIC)
    return np.asarray(scaled, np.float64)


def _border(image: Image) -> Image:
    framed = PIL.Image.new("L", (image.width + 40, image.height + 26), 255)
    framed.paste(image, (25, 10))
    return framed


def _annotate(image: Image) -> Image:
    annotated = image.copy()
    drawing = ImageDraw.Draw(annotated)
    drawing.line((60, 200, 110, 150), fill=255, width=4)
    drawing.polygon([(110, 150), (98, 152), (108, 162)], fill=255)
    drawing.text((150, 20), "CASE 1234 R", fill=255)
    drawing.rectangle((10, 225, 80, 245), fill=0)
    return annotated


def _beside_another(image: Image) -> Image:
    figure = PIL.Image.new("L", (2 * image.width + 10, image.height), 255)
    figure.paste(image, (0, 0))
    figure.paste(draw_slice(999), (image.width + 10, 0))
    return figure


EDITS: dict[str, Callable[[Image], Image]] = {
    "encoded again": lambda image: PIL.Image.open(io.BytesIO(encode(image, 40))),
    "scaled": lambda image: image.resize((150, 150), Resampling.BICUBIC),
    "cropped": lambda image: image.crop((12, 4, image.width - 6, image.height - 10)),
    "cropped by a tenth a side": lambda image: image.crop((26, 26, 230, 230)),
    "bordered": _border,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "rotated": lambda image: image.rotate(3, Resampling.BICUBIC),
    "rotated on white": lambda image: image.rotate(3, Resampling.BICUBIC, expand=True, fillcolor=255),
    "mirrored": lambda image: image.transpose(Transpose.FLIP_LEFT_RIGHT),
    "annotated": _annotate,
    "beside another": _beside_another,
    "half": lambda image: image.crop((0, 0, image.width // 2, image.height)),
}


def write_images(samples: Path, source: str, images: Mapping[str, Image | bytes]) -> dict[str, str]:
    """Write a row an image; returns {pixels_sha256: name}."""
    settings = Normalize(row_group_rows=GROUP_ROWS)
    (samples / source).mkdir(parents=True)
    rows, names = [], {}
    for name, image in images.items():
        encoded = encode_for_storage(image if isinstance(image, bytes) else encode(image), settings)
        names[encoded.pixels_sha256] = name
        rows.append(replace(toyset.make_sample(name), id=f"{source}/{name}", source=source, images=(encoded,)))
    ShardStore(samples / source).write(rows, settings)
    return names
