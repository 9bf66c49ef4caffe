"""Pictures: each mode becomes what it shows, nothing beside the pixels is kept, and hostile bytes are refused."""

import contextlib
import io
import pickle
import struct
import zlib
from typing import Any

import imagehash
import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.PngImagePlugin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.config import Normalize
from openmedq.schema import Reason
from openmedq.storage import images, metadata
from openmedq.storage.images import BrokenPicture, Picture, encode

DIALS = Normalize(max_side_px=64, max_pixels=100_000)
SECRET = b"DOE^JANE 1931-02-03"


def _gray(width: int = 40, height: int = 30) -> PIL.Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    return PIL.Image.fromarray((rows * 5 + columns * 2).astype(np.uint8))


def _colour(width: int = 40, height: int = 30) -> PIL.Image.Image:
    gray = _gray(width, height)
    return PIL.Image.merge("RGB", (gray, gray.point(lambda level: 255 - level), gray.point(lambda level: level // 2)))


def _save(image: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _stored(published: bytes, dials: Normalize = DIALS) -> PIL.Image.Image:
    return _decode(encode(published, dials))


def _decode(picture: Picture) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(picture.data))
    image.load()
    assert image.format in ("JPEG", "PNG")
    assert image.mode in ("L", "RGB")
    assert image.size == (picture.width, picture.height)
    return image


def _refuse(published: bytes, dials: Normalize = DIALS) -> BrokenPicture:
    with pytest.raises(BrokenPicture) as caught:
        encode(published, dials)
    assert "\n" not in caught.value.detail
    assert " at 0x" not in caught.value.detail
    return caught.value


def _same(image: PIL.Image.Image, expected: PIL.Image.Image) -> bool:
    return image.mode == expected.mode and image.tobytes() == expected.tobytes()


@pytest.mark.parametrize("image", [_gray(), _colour()], ids=["L", "RGB"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"quality": 30}])
def test_a_plain_jpeg_is_kept_byte_for_byte(image: PIL.Image.Image, options: dict[str, Any]) -> None:
    published = _save(image, "JPEG", **options)
    assert encode(published, DIALS).data == published


@pytest.mark.parametrize("image", [_gray(), _colour()], ids=["L", "RGB"])
def test_a_plain_png_is_kept_byte_for_byte(image: PIL.Image.Image) -> None:
    published = _save(image, "PNG")
    assert encode(published, DIALS).data == published


def test_jpeg_metadata_go_and_the_pixels_stay() -> None:
    exif = PIL.Image.Exif()
    exif[0x010E] = SECRET.decode()  # ImageDescription
    for image in (_gray(), _colour()):
        for progressive in (False, True):
            plain = _save(image, "JPEG", progressive=progressive)
            published = _save(
                image,
                "JPEG",
                progressive=progressive,
                exif=exif,
                comment=SECRET,
                icc_profile=SECRET * 9,
                xmp=b"<x>" + SECRET,
            )
            assert published.count(SECRET) >= 4
            assert encode(published + SECRET, DIALS).data == plain


def test_a_thumbnail_within_a_jpeg_goes() -> None:
    plain = _save(_gray(), "JPEG")
    start = plain.index(b"JFIF\0")
    header = plain[start : start + 12] + b"\x01\x01" + b"RGB"  # a thumbnail of one pixel
    segment = b"\xff\xe0" + struct.pack(">H", len(header) + 2) + header
    published = b"\xff\xd8" + segment + plain[start + 14 :]
    assert _stored(published).tobytes() == PIL.Image.open(io.BytesIO(plain)).tobytes()
    assert encode(published, DIALS).data == plain


def test_png_metadata_go_and_the_pixels_stay() -> None:
    info = PIL.PngImagePlugin.PngInfo()
    info.add_text("Patient", SECRET.decode())
    info.add_itxt("Name", SECRET.decode())
    for image in (_gray(), _colour()):
        published = _save(image, "PNG", pnginfo=info, icc_profile=SECRET, dpi=(72, 72))
        assert SECRET in published
        assert encode(published + SECRET, DIALS).data == _save(image, "PNG")


def test_re_encoded_pictures_carry_no_metadata() -> None:
    large = _colour(100, 80)
    for published in (
        _save(large, "JPEG", comment=SECRET, icc_profile=SECRET * 9),
        _save(large, "PNG", icc_profile=SECRET),
        _save(large, "TIFF", description=SECRET.decode(), icc_profile=SECRET),
        _save(_gray(), "GIF", comment=SECRET),
    ):
        data = encode(published, DIALS).data
        image = PIL.Image.open(io.BytesIO(data))
        image.load()
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert SECRET not in data


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_pictures_stand_upright(kind: str, orientation: int) -> None:
    """Whatever turns the tag asks for, a viewer that honours it sees what is stored."""
    image = PIL.Image.new("L", (48, 32))
    image.paste(255, (0, 0, 16, 16))  # a bright corner
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    published = _save(image.convert("RGB") if kind == "WEBP" else image, kind, exif=exif, **options)
    expected = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(published))).convert("L")
    stored = _stored(published).convert("L")
    assert stored.size == expected.size == ((48, 32) if orientation < 5 else (32, 48))
    assert np.abs(np.asarray(stored, int) - np.asarray(expected, int)).max() <= 12


def test_gray_stays_gray_and_colour_stays_colour() -> None:
    gray, colour = _gray(), _colour()
    assert _same(_stored(_save(gray, "BMP")), gray)
    assert _same(_stored(_save(colour, "BMP")), colour)
    assert _same(_stored(_save(gray, "TIFF")), gray)
    assert _same(_stored(_save(colour, "TIFF", compression="tiff_lzw")), colour)
    assert _same(_stored(_save(gray, "GIF")), gray)
    assert _same(_stored(_save(gray.convert("RGB"), "PNG")), gray.convert("RGB"))  # published as colour
    assert _same(_stored(_save(colour, "WEBP", lossless=True)), colour)
    assert _stored(_save(colour, "WEBP")).format == "JPEG"
    assert _stored(_save(colour, "WEBP", lossless=True)).format == "PNG"


def test_one_bit_and_palettes() -> None:
    bits = _gray().point(lambda level: 255 * (level > 90)).convert("1")
    assert _same(_stored(_save(bits, "PNG")), bits.convert("L"))
    palette = _colour().quantize(16)
    assert _same(_stored(_save(palette, "PNG")), palette.convert("RGB"))
    grays = _gray().quantize(16)
    assert _same(_stored(_save(grays, "PNG")), grays.convert("L"))


def test_fewer_bits_than_eight_are_widened() -> None:
    levels = _gray().point(lambda level: level // 17 * 17)
    published = _save(levels.quantize(16), "PNG", bits=4)
    assert _stored(published).mode == "L"


def test_more_bits_than_eight_are_not_kept() -> None:
    """Pillow reads 16-bit colour as 8-bit; what is stored is what was read."""
    levels = np.random.default_rng(0).integers(0, 2**16, (30, 40, 3)).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in levels)
    header = struct.pack(">IIBBBBB", 40, 30, 16, 2, 0, 0, 0)
    published = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines))
    picture = encode(published + _chunk(b"IEND", b""), DIALS)
    assert picture.data[24] == 8
    assert np.array_equal(np.asarray(_decode(picture)), levels >> 8)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_what_is_not_opaque_lies_on_black() -> None:
    colour, alpha = _colour(), PIL.Image.new("L", (40, 30), 255)
    alpha.paste(0, (0, 0, 20, 30))
    see_through = colour.copy()
    see_through.putalpha(alpha)
    stored = np.asarray(_stored(_save(see_through, "PNG")))
    assert not stored[:, :20].any()
    assert np.array_equal(stored[:, 20:], np.asarray(colour)[:, 20:])

    gray = _gray()
    gray.putalpha(255)
    assert _same(_stored(_save(gray, "PNG")), _gray())
    keyed = _save(_gray(), "PNG", transparency=0)
    assert _same(_stored(keyed), _gray())
    palette = _colour().quantize(8)
    assert np.asarray(_stored(_save(palette, "PNG", transparency=b"\0" * 8))).max() == 0


def test_cmyk_is_read_as_its_colours() -> None:
    cmyk = _colour(48, 48).convert("CMYK")
    published = _save(cmyk, "JPEG", quality=100, subsampling=0)
    assert np.abs(np.asarray(_stored(published), int) - np.asarray(_colour(48, 48), int)).mean() < 3
    assert _same(_stored(_save(cmyk, "TIFF")), cmyk.convert("RGB"))


@pytest.mark.parametrize("num_bits", [8, 10, 12, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_the_depth_in_use(kind: str, num_bits: int) -> None:
    levels = np.linspace(0, 2**num_bits - 1, 1200).astype(np.uint16).reshape(30, 40)
    stored = _stored(_save(PIL.Image.fromarray(levels), kind))
    assert stored.mode == "L"
    assert np.array_equal(np.asarray(stored), levels >> (num_bits - 8))


def test_signed_and_floating_levels() -> None:
    hounsfield = np.linspace(-1000, 3000, 1200).astype(np.int32).reshape(30, 40)
    assert np.array_equal(np.asarray(_stored(_save(PIL.Image.fromarray(hounsfield), "TIFF"))), (hounsfield + 1000) >> 4)
    shares = np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40)
    assert np.array_equal(np.asarray(_stored(_save(PIL.Image.fromarray(shares), "TIFF"))), np.rint(shares * 255))
    shares[0, 0] = np.nan
    assert _refuse(_save(PIL.Image.fromarray(shares), "TIFF")).reason is Reason.IMAGE_UNREADABLE


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize(
    ("size", "expected"), [((128, 64), (64, 32)), ((50, 200), (16, 64)), ((64, 64), (64, 64)), ((300, 1), (64, 1))]
)
def test_the_longer_side_is_bounded(kind: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert _stored(_save(_gray(*size), kind)).size == expected


def test_only_the_first_frame_counts() -> None:
    for kind in ("GIF", "TIFF"):
        published = _save(_gray(), kind, save_all=True, append_images=[PIL.Image.new("L", (40, 30), 9)])
        assert _same(_stored(published), _gray())


def test_fingerprints_are_of_what_is_stored() -> None:
    for published in (_save(_colour(200, 90), "JPEG"), _save(_gray(), "PNG"), _save(_colour(), "BMP")):
        picture = encode(published, DIALS)
        stored = _decode(picture)
        assert picture.phash == int(str(imagehash.phash(stored)), 16) < 2**64
        assert picture.pixels_sha256 == images._describe(b"", b"", stored).pixels_sha256
        assert len(picture.thumbnail) == 1024
        small = stored.convert("L").resize((32, 32), PIL.Image.Resampling.BOX)
        assert picture.thumbnail == small.tobytes()
        assert encode(published, DIALS) == picture


def test_the_same_pixels_have_one_fingerprint() -> None:
    png, bmp, tiff = (encode(_save(_gray(), kind), DIALS) for kind in ("PNG", "BMP", "TIFF"))
    assert png.pixels_sha256 == bmp.pixels_sha256 == tiff.pixels_sha256
    assert png.sha256 != bmp.sha256
    assert png.pixels_sha256 != encode(_save(_gray().convert("RGB"), "PNG"), DIALS).pixels_sha256
    assert png.pixels_sha256 != encode(_save(_gray(30, 40), "PNG"), DIALS).pixels_sha256


@pytest.mark.parametrize(
    "published",
    [b"", b"\0", b"<svg>not found</svg>", b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe"],
)
def test_what_is_no_picture_is_unreadable(published: bytes) -> None:
    assert _refuse(published).reason is Reason.IMAGE_UNREADABLE


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_a_cut_picture_is_unreadable(kind: str) -> None:
    published = _save(_colour(), kind)
    assert _refuse(published[: len(published) // 2]).reason is Reason.IMAGE_UNREADABLE


def test_formats_of_no_picture_set_are_not_decoded() -> None:
    assert _refuse(_save(_colour(), "PPM")).reason is Reason.IMAGE_UNREADABLE
    assert _refuse(_save(_colour(), "EPS")).reason is Reason.IMAGE_UNREADABLE


def test_a_bomb_is_refused_by_its_header() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")
    assert _refuse(bomb).reason is Reason.IMAGE_TOO_LARGE
    assert _refuse(bomb, Normalize()).reason is Reason.IMAGE_TOO_LARGE


def test_the_bound_is_ours_and_exact() -> None:
    published = _save(_gray(100, 100), "PNG")
    assert encode(published, Normalize(max_pixels=10_000)).width == 100
    assert _refuse(published, Normalize(max_pixels=9_999)).reason is Reason.IMAGE_TOO_LARGE
    before = PIL.Image.MAX_IMAGE_PIXELS
    encode(published, DIALS)
    assert before == PIL.Image.MAX_IMAGE_PIXELS


def test_want_of_memory_is_no_fault_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(PIL.Image, "open", fail)
    with pytest.raises(MemoryError):
        encode(_save(_gray(), "PNG"), DIALS)


def test_a_broken_picture_crosses_processes() -> None:
    problem = pickle.loads(pickle.dumps(BrokenPicture(Reason.IMAGE_UNREADABLE, "why")))
    assert (problem.reason, problem.detail) == (Reason.IMAGE_UNREADABLE, "why")


_VALID = [
    _save(_gray(), "JPEG"),
    _save(_colour(), "JPEG", progressive=True, comment=b"text"),
    _save(_colour().convert("CMYK"), "JPEG"),
    _save(_gray(), "PNG"),
    _save(_colour().quantize(9), "PNG", transparency=b"\0\xff\x09"),
    _save(_colour(), "GIF"),
    _save(_gray(), "GIF", transparency=3),
    _save(PIL.Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)), "PNG"),
    _save(PIL.Image.fromarray(np.arange(1200, dtype=np.int32).reshape(30, 40)), "TIFF"),
    _save(_colour(), "TIFF"),
    _save(_colour(), "BMP"),
    _save(_colour(), "WEBP"),
]


def _try(data: bytes) -> None:
    try:
        picture = encode(data, DIALS)
    except BrokenPicture as problem:
        assert problem.reason in (Reason.IMAGE_UNREADABLE, Reason.IMAGE_TOO_LARGE, Reason.IMAGE_UNEXPECTED)
        return
    _decode(picture)
    assert max(picture.width, picture.height) <= DIALS.max_side_px


@settings(max_examples=200)
@given(st.binary(max_size=300), st.sampled_from([data[:12] for data in _VALID] + [b""]))
def test_random_bytes_never_crash(data: bytes, head: bytes) -> None:
    _try(head + data)


@settings(max_examples=400)
@given(
    st.sampled_from(_VALID),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=4),
    st.floats(0, 1),
)
def test_damaged_pictures_never_crash(data: bytes, changes: list[tuple[float, bytes]], kept: float) -> None:
    damaged = bytearray(data)
    for place, new in changes:
        start = int(place**2 * len(data))  # headers are where it hurts
        damaged[start : start + len(new)] = new
    _try(bytes(damaged[: max(1, int(len(damaged) * kept))] if kept < 0.5 else damaged))


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_stripping_refuses_what_it_does_not_understand(data: bytes) -> None:
    for strip, head in ((metadata.strip_jpeg, b"\xff\xd8"), (metadata.strip_png, b"\x89PNG\r\n\x1a\n")):
        for hostile in (data, head + data):
            with contextlib.suppress(ValueError):
                assert strip(hostile).startswith(head)
