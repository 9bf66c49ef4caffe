"""Metadata of published images: whatever they are, the image is read as it is without them, and in bounded memory."""

import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import PIL.Image
import pytest

from openmedq.config import Normalize
from openmedq.storage.images import encode

DIALS = Normalize(max_side_px=64, max_pixels=100_000)


def _color() -> PIL.Image.Image:
    rows, columns = np.mgrid[0:30, 0:40]
    return PIL.Image.fromarray(np.stack([rows * 5, columns * 2, rows + columns], axis=-1).astype(np.uint8))


def _save(image: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _chunk(name: bytes, payload: bytes, damage: int = 0) -> bytes:
    checksum = zlib.crc32(name + payload) ^ damage
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", checksum)


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


_BOMB = zlib.compress(bytes(128 * 2**20))
_PROFILES = [_segment(0xE2, b"ICC_PROFILE\0" + bytes((i, 255)) + bytes(65_000)) for i in range(1, 256)]
_PNG_METADATA = {
    "long zTXt": _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2 * 2**20))),
    "long iTXt": _chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(2 * 2**20))),
    "long iCCP": _chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(2 * 2**20))),
    "many tEXt": _chunk(b"tEXt", b"Comment\0" + bytes(2**20)) * 70,
    "zTXt bomb": _chunk(b"zTXt", b"Comment\0\0" + _BOMB),
    "iCCP bomb": _chunk(b"iCCP", b"profile\0\0" + _BOMB),
    "damaged tEXt": _chunk(b"tEXt", b"Comment\0", damage=1),
    "damaged eXIf": _chunk(b"eXIf", b"MM\0*", damage=1),
    "long eXIf": _chunk(b"eXIf", b"MM\0*" + bytes(2**24)),
    "short gAMA": _chunk(b"gAMA", b"1"),
    "short acTL": _chunk(b"acTL", b"1"),
}
_JPEG_METADATA = {
    "long EXIF": _segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 50,
    "long comment": _segment(0xFE, bytes(65_000)) * 50,
    "long profile": b"".join(_PROFILES),
    "short profile": _segment(0xE2, b"ICC_PROFILE\0"),
    "short JFIF": _segment(0xE0, b"JFIF"),
}


@pytest.mark.parametrize("name", _PNG_METADATA)
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA", "I;16"])
def test_png_metadata_cost_no_image(mode: str, name: str) -> None:
    """Neither stored images nor those that are encoded anew; before and behind the pixels; and nothing is inflated."""
    image = PIL.Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)) if mode == "I;16" else _color()
    plain = _save(image if mode == "I;16" else image.convert(mode), "PNG")
    behind = plain[:-12] + _PNG_METADATA[name]
    tracemalloc.start()
    try:
        for published in (plain[:33] + _PNG_METADATA[name] + plain[33:], behind + plain[-12:], behind[:-5]):
            assert encode(published, DIALS).data == encode(plain, DIALS).data
        assert tracemalloc.get_traced_memory()[1] < 8 * len(behind) + 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", _JPEG_METADATA)
@pytest.mark.parametrize("side_px", [30, 64])
def test_jpeg_metadata_cost_no_image(side_px: int, name: str) -> None:
    plain = _save(_color(), "JPEG")
    published = plain[:20] + _JPEG_METADATA[name] + plain[20:]
    dials = DIALS.model_copy(update={"max_side_px": side_px})
    assert encode(published, dials).data == encode(plain, dials).data


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("TIFF", {"icc_profile": bytes(2**24)}),
        ("TIFF", {"tiffinfo": {270: "a" * 2**24, 700: bytes(2**24)}, "compression": "tiff_lzw"}),
        ("WEBP", {"exif": b"Exif\0\0" + bytes(2**24), "xmp": bytes(2**24), "icc_profile": bytes(2**24)}),
        ("GIF", {"comment": bytes(2**22)}),
    ],
)
def test_metadata_of_other_formats_cost_no_image(kind: str, options: dict[str, Any]) -> None:
    assert encode(_save(_color(), kind, **options), DIALS).data == encode(_save(_color(), kind), DIALS).data
