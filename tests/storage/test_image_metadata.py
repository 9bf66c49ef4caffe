import contextlib
import io
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.storage import metadata
from openmedq.storage.images import encode
from tests.memory import takes_less_than
from tests.storage import drawing
from tests.storage.drawing import SETTINGS, chunk, save

SECRET = b"DOE^JANE 1931-02-03"


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


_BOMB = zlib.compress(bytes(32 * 2**20))
_PROFILES = [_segment(0xE2, b"ICC_PROFILE\0" + bytes((i, 255)) + bytes(65_000)) for i in range(1, 256)]
_PNG_METADATA = {
    "long zTXt": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2 * 2**20))),
    "long iTXt": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(2 * 2**20))),
    "long iCCP": chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(2 * 2**20))),
    "many tEXt": chunk(b"tEXt", b"Comment\0" + bytes(2**20)) * 70,
    "zTXt bomb": chunk(b"zTXt", b"Comment\0\0" + _BOMB),
    "iCCP bomb": chunk(b"iCCP", b"profile\0\0" + _BOMB),
    "damaged tEXt": chunk(b"tEXt", b"Comment\0", damage=1),
    "damaged eXIf": chunk(b"eXIf", b"MM\0*", damage=1),
    "long eXIf": chunk(b"eXIf", b"MM\0*" + bytes(2**22)),
    "short gAMA": chunk(b"gAMA", b"1"),
    "short acTL": chunk(b"acTL", b"1"),
}
_JPEG_METADATA = {
    "long EXIF": _segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 50,
    "long comment": _segment(0xFE, bytes(65_000)) * 50,
    "long profile": b"".join(_PROFILES),
    "short profile": _segment(0xE2, b"ICC_PROFILE\0"),
    "short JFIF": _segment(0xE0, b"JFIF"),
}


@pytest.mark.parametrize("name", _PNG_METADATA)
@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_png_metadata_cost_no_image(mode: str, name: str) -> None:
    """Neither stored images nor those that are encoded anew; before and behind the pixels; and nothing is inflated."""
    image = PIL.Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)) if mode == "I;16" else drawing.color()
    plain = save(image if mode == "I;16" else image.convert(mode), "PNG")
    behind = plain[:-12] + _PNG_METADATA[name]

    def encode_each() -> None:
        for published in (plain[:33] + _PNG_METADATA[name] + plain[33:], behind + plain[-12:], behind[:-5]):
            stored = encode(published, SETTINGS)  # one with an orientation is encoded again
            assert stored.pixels_sha256 == encode(plain, SETTINGS).pixels_sha256
            assert len(stored.data) < len(plain) + 2**10

    assert takes_less_than(8 * len(behind) + 2**24, encode_each)


@pytest.mark.parametrize("name", _JPEG_METADATA)
@pytest.mark.parametrize("side_px", [30, 64])
def test_jpeg_metadata_cost_no_image(side_px: int, name: str) -> None:
    plain = save(drawing.color(), "JPEG")
    published = plain[:20] + _JPEG_METADATA[name] + plain[20:]
    bounded = SETTINGS.model_copy(update={"max_side_px": side_px})
    assert encode(published, bounded).data == encode(plain, bounded).data


def test_jpeg_metadata_go_and_the_pixels_stay() -> None:
    exif = PIL.Image.Exif()
    exif[0x010E] = SECRET.decode()  # ImageDescription
    for image in (drawing.gray(), drawing.color()):
        for progressive in (False, True):
            plain = save(image, "JPEG", progressive=progressive)
            published = save(
                image,
                "JPEG",
                progressive=progressive,
                exif=exif,
                comment=SECRET,
                icc_profile=SECRET * 9,
                xmp=b"<x>" + SECRET,
            )
            assert published.count(SECRET) >= 4
            assert encode(published + SECRET, SETTINGS).data == plain


def test_a_thumbnail_within_a_jpeg_goes() -> None:
    plain = save(drawing.gray(), "JPEG")
    start = plain.index(b"JFIF\0")
    header = plain[start : start + 12] + b"\x01\x01" + b"RGB"  # a thumbnail of one pixel
    segment = b"\xff\xe0" + struct.pack(">H", len(header) + 2) + header
    published = b"\xff\xd8" + segment + plain[start + 14 :]
    assert drawing.stored(published).tobytes() == PIL.Image.open(io.BytesIO(plain)).tobytes()
    assert encode(published, SETTINGS).data == plain


def test_png_metadata_go_and_the_pixels_stay() -> None:
    info = PIL.PngImagePlugin.PngInfo()
    info.add_text("Patient", SECRET.decode())
    info.add_itxt("Name", SECRET.decode())
    for image in (drawing.gray(), drawing.color()):
        published = save(image, "PNG", pnginfo=info, icc_profile=SECRET, dpi=(72, 72))
        assert SECRET in published
        assert encode(published + SECRET, SETTINGS).data == save(image, "PNG")


def test_re_encoded_pictures_carry_no_metadata() -> None:
    large = drawing.color(100, 80)
    for published in (
        save(large, "JPEG", comment=SECRET, icc_profile=SECRET * 9),
        save(large, "PNG", icc_profile=SECRET),
        save(large, "TIFF", description=SECRET.decode(), icc_profile=SECRET),
        save(drawing.gray(), "GIF", comment=SECRET),
    ):
        data = encode(published, SETTINGS).data
        image = PIL.Image.open(io.BytesIO(data))
        image.load()
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert SECRET not in data


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_stripping_refuses_what_it_does_not_understand(data: bytes) -> None:
    for strip, head in ((metadata.strip_jpeg, b"\xff\xd8"), (metadata.strip_png, b"\x89PNG\r\n\x1a\n")):
        for hostile in (data, head + data):
            with contextlib.suppress(ValueError):
                assert strip(hostile).startswith(head)
