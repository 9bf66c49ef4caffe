"""Images to test with."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import PIL.Image

from openmedq.config import Normalize
from openmedq.schema import EncodedImage
from openmedq.storage.images import encode

SETTINGS = Normalize(max_side_px=64, max_pixels=100_000)


def gray(width: int = 40, height: int = 30) -> PIL.Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    return PIL.Image.fromarray((rows * 5 + columns * 2).astype(np.uint8))


def color(width: int = 40, height: int = 30) -> PIL.Image.Image:
    level = gray(width, height)
    return PIL.Image.merge("RGB", (level, level.point(lambda x: 255 - x), level.point(lambda x: x // 2)))


def save(image: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, payload: bytes, damage: int = 0) -> bytes:
    checksum = zlib.crc32(name + payload) ^ damage
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", checksum)


def decode(encoded: EncodedImage) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(encoded.data))
    image.load()
    assert image.format in ("JPEG", "PNG")
    assert image.mode in ("L", "RGB")
    assert image.size == (encoded.width, encoded.height)
    return image


def stored(published: bytes) -> PIL.Image.Image:
    return decode(encode(published, SETTINGS))
