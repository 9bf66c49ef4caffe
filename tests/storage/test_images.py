import io
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import imagehash
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.config import Normalize
from openmedq.schema import BrokenImage, Reason
from openmedq.storage import images
from openmedq.storage.images import encode
from tests.storage import drawing
from tests.storage.drawing import SETTINGS, chunk, save


def _refuse(published: bytes, bounds: Normalize = SETTINGS) -> BrokenImage:
    with pytest.raises(BrokenImage) as caught:
        encode(published, bounds)
    assert "\n" not in caught.value.detail
    assert " at 0x" not in caught.value.detail
    return caught.value


def _same(image: PIL.Image.Image, expected: PIL.Image.Image) -> bool:
    return image.mode == expected.mode and image.tobytes() == expected.tobytes()


@pytest.mark.parametrize("image", [drawing.gray(), drawing.color()], ids=["L", "RGB"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"quality": 30}])
def test_a_plain_jpeg_is_kept_byte_for_byte(image: PIL.Image.Image, options: dict[str, Any]) -> None:
    published = save(image, "JPEG", **options)
    assert encode(published, SETTINGS).data == published


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_pictures_stand_upright(kind: str, orientation: int) -> None:
    """Whatever turns the tag asks for, a viewer that honours it sees what is stored."""
    image = PIL.Image.new("L", (48, 32))
    image.paste(255, (0, 0, 16, 16))  # a bright corner
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    published = save(image.convert("RGB") if kind == "WEBP" else image, kind, exif=exif, **options)
    expected = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(published))).convert("L")
    stored = drawing.stored(published).convert("L")
    assert stored.size == expected.size == ((48, 32) if orientation < 5 else (32, 48))
    assert np.abs(np.asarray(stored, int) - np.asarray(expected, int)).max() <= 12


def test_gray_stays_gray_and_color_stays_color() -> None:
    gray, color = drawing.gray(), drawing.color()
    assert _same(drawing.stored(save(gray, "BMP")), gray)
    assert _same(drawing.stored(save(color, "BMP")), color)
    assert _same(drawing.stored(save(gray, "TIFF")), gray)
    assert _same(drawing.stored(save(color, "TIFF", compression="tiff_lzw")), color)
    assert _same(drawing.stored(save(gray, "GIF")), gray)
    assert _same(drawing.stored(save(gray.convert("RGB"), "PNG")), gray.convert("RGB"))  # published as color
    assert _same(drawing.stored(save(color, "WEBP", lossless=True)), color)
    assert drawing.stored(save(color, "WEBP")).format == "JPEG"
    assert drawing.stored(save(color, "WEBP", lossless=True)).format == "PNG"


def test_one_bit_and_palettes() -> None:
    bits = drawing.gray().point(lambda level: 255 * (level > 90)).convert("1")
    assert _same(drawing.stored(save(bits, "PNG")), bits.convert("L"))
    palette = drawing.color().quantize(16)
    assert _same(drawing.stored(save(palette, "PNG")), palette.convert("RGB"))
    grays = drawing.gray().quantize(16)
    assert _same(drawing.stored(save(grays, "PNG")), grays.convert("L"))
    assert drawing.stored(save(grays, "PNG", bits=4)).mode == "L"


@pytest.mark.parametrize("num_bits", [12, 16])
def test_color_of_sixteen_bits_is_scaled_by_the_depth_in_use(num_bits: int) -> None:
    levels = np.random.default_rng(0).integers(0, 2**num_bits, (30, 40, 3)).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in levels)
    header = struct.pack(">IIBBBBB", 40, 30, 16, 2, 0, 0, 0)
    published = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines))
    picture = encode(published + chunk(b"IEND", b""), SETTINGS)
    assert picture.data[24] == 8
    assert np.array_equal(np.asarray(drawing.decode(picture)), levels >> (num_bits - 8))
    cut = encode(published[:-8], SETTINGS)  # OpenCV refuses it, and Pillow keeps the upper 8 bits
    assert np.array_equal(np.asarray(drawing.decode(cut)), levels >> 8)


def test_what_is_not_opaque_lies_on_black() -> None:
    color, alpha = drawing.color(), PIL.Image.new("L", (40, 30), 255)
    alpha.paste(0, (0, 0, 20, 30))
    see_through = color.copy()
    see_through.putalpha(alpha)
    stored = np.asarray(drawing.stored(save(see_through, "PNG")))
    assert not stored[:, :20].any()
    assert np.array_equal(stored[:, 20:], np.asarray(color)[:, 20:])

    gray = drawing.gray()
    gray.putalpha(255)
    assert _same(drawing.stored(save(gray, "PNG")), drawing.gray())
    keyed = save(drawing.gray(), "PNG", transparency=0)
    assert _same(drawing.stored(keyed), drawing.gray())
    palette = drawing.color().quantize(8)
    assert np.asarray(drawing.stored(save(palette, "PNG", transparency=b"\0" * 8))).max() == 0


def test_cmyk_is_read_as_its_colors() -> None:
    cmyk = drawing.color(48, 48).convert("CMYK")
    published = save(cmyk, "JPEG", quality=100, subsampling=0)
    assert np.abs(np.asarray(drawing.stored(published), int) - np.asarray(drawing.color(48, 48), int)).mean() < 3
    assert _same(drawing.stored(save(cmyk, "TIFF")), cmyk.convert("RGB"))


@pytest.mark.parametrize("num_bits", [8, 10, 12, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_the_depth_in_use(kind: str, num_bits: int) -> None:
    levels = np.linspace(0, 2**num_bits - 1, 1200).astype(np.uint16).reshape(30, 40)
    stored = drawing.stored(save(PIL.Image.fromarray(levels), kind))
    assert stored.mode == "L"
    assert np.array_equal(np.asarray(stored), levels >> (num_bits - 8))


def test_signed_and_floating_levels() -> None:
    hounsfield = np.linspace(-1000, 3000, 1200).astype(np.int32).reshape(30, 40)
    assert np.array_equal(
        np.asarray(drawing.stored(save(PIL.Image.fromarray(hounsfield), "TIFF"))), (hounsfield + 1000) >> 4
    )
    shares = np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40)
    assert np.array_equal(np.asarray(drawing.stored(save(PIL.Image.fromarray(shares), "TIFF"))), np.rint(shares * 255))
    shares[0, 0] = np.nan
    assert _refuse(save(PIL.Image.fromarray(shares), "TIFF")).reason is Reason.IMAGE_UNREADABLE


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize(
    ("size", "expected"), [((128, 64), (64, 32)), ((50, 200), (16, 64)), ((64, 64), (64, 64)), ((300, 1), (64, 1))]
)
def test_the_longer_side_is_bounded(kind: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert drawing.stored(save(drawing.gray(*size), kind)).size == expected


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(601, 99), (269, 275)])
def test_a_jpeg_reduced_by_its_decoder_is_the_bounded_image(size: tuple[int, int], orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    image = PIL.Image.fromarray(np.asarray(drawing.color(20, 20))).resize(size, PIL.Image.Resampling.BICUBIC)
    published = save(image, "JPEG", exif=exif, quality=95, subsampling=0)
    upright = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(published)))
    expected = upright.resize(drawing.stored(published).size, PIL.Image.Resampling.LANCZOS)
    assert max(expected.size) == SETTINGS.max_side_px
    assert expected.width / expected.height == pytest.approx(upright.width / upright.height, rel=0.05)
    assert np.abs(np.asarray(drawing.stored(published), int) - np.asarray(expected, int)).mean() < 3


def test_only_the_first_frame_counts() -> None:
    for kind in ("GIF", "TIFF"):
        published = save(drawing.gray(), kind, save_all=True, append_images=[PIL.Image.new("L", (40, 30), 9)])
        assert _same(drawing.stored(published), drawing.gray())


def test_fingerprints_are_of_what_is_stored() -> None:
    for published in (
        save(drawing.color(200, 90), "JPEG"),
        save(drawing.gray(), "PNG"),
        save(drawing.color(), "BMP"),
    ):
        picture = encode(published, SETTINGS)
        stored = drawing.decode(picture)
        assert picture.phash == int(str(imagehash.phash(stored)), 16) < 2**64
        assert picture.pixels_sha256 == images._describe(b"", b"", stored).pixels_sha256
        assert len(picture.thumbnail) == 1024
        small = stored.convert("L").resize((32, 32), PIL.Image.Resampling.BOX)
        assert picture.thumbnail == small.tobytes()
        assert encode(published, SETTINGS) == picture


def test_the_same_pixels_have_one_fingerprint() -> None:
    png, bmp, tiff = (encode(save(drawing.gray(), kind), SETTINGS) for kind in ("PNG", "BMP", "TIFF"))
    assert png.pixels_sha256 == bmp.pixels_sha256 == tiff.pixels_sha256
    assert png.sha256 != bmp.sha256
    assert png.pixels_sha256 != encode(save(drawing.gray().convert("RGB"), "PNG"), SETTINGS).pixels_sha256
    assert png.pixels_sha256 != encode(save(drawing.gray(30, 40), "PNG"), SETTINGS).pixels_sha256


@pytest.mark.parametrize(
    "published",
    [
        *(b"", b"\0", b"<svg>not found</svg>", b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe"),
        *(save(drawing.color(), kind) for kind in ("PPM", "EPS")),
    ],
)
def test_what_is_no_picture_is_unreadable(published: bytes) -> None:
    assert _refuse(published).reason is Reason.IMAGE_UNREADABLE


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_a_cut_picture_is_unreadable(kind: str) -> None:
    published = save(drawing.color(), kind)
    assert _refuse(published[: len(published) // 2]).reason is Reason.IMAGE_UNREADABLE


def test_a_bomb_is_refused_by_its_header() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    assert _refuse(bomb).reason is Reason.IMAGE_TOO_LARGE
    assert _refuse(bomb, Normalize()).reason is Reason.IMAGE_TOO_LARGE


def test_the_bound_is_ours_and_exact() -> None:
    published = save(drawing.gray(100, 100), "PNG")
    assert encode(published, Normalize(max_pixels=10_000)).width == 100
    assert _refuse(published, Normalize(max_pixels=9_999)).reason is Reason.IMAGE_TOO_LARGE
    before = PIL.Image.MAX_IMAGE_PIXELS
    encode(published, SETTINGS)
    assert before == PIL.Image.MAX_IMAGE_PIXELS


def test_want_of_memory_is_no_fault_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(PIL.Image, "open", fail)
    with pytest.raises(MemoryError):
        encode(save(drawing.gray(), "PNG"), SETTINGS)


_VALID = [
    save(drawing.gray(), "JPEG"),
    save(drawing.color(), "JPEG", progressive=True, comment=b"text"),
    save(drawing.color().convert("CMYK"), "JPEG"),
    save(drawing.gray(), "PNG"),
    save(drawing.color().quantize(9), "PNG", transparency=b"\0\xff\x09"),
    save(drawing.color(), "GIF"),
    save(drawing.gray(), "GIF", transparency=3),
    save(PIL.Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)), "PNG"),
    save(PIL.Image.fromarray(np.arange(1200, dtype=np.int32).reshape(30, 40)), "TIFF"),
    save(drawing.color(), "TIFF"),
    save(drawing.color(), "BMP"),
    save(drawing.color(), "WEBP"),
]


def _try(data: bytes) -> None:
    try:
        picture = encode(data, SETTINGS)
    except BrokenImage as problem:
        assert problem.reason in (Reason.IMAGE_UNREADABLE, Reason.IMAGE_TOO_LARGE, Reason.IMAGE_UNEXPECTED)
        return
    drawing.decode(picture)
    assert max(picture.width, picture.height) <= SETTINGS.max_side_px


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


def test_threads_do_not_change_the_bound_of_each_other() -> None:
    """As two users of the demo, or a worker of Dask with threads."""
    bound, both = PIL.Image.MAX_IMAGE_PIXELS, threading.Barrier(2)

    def read(max_pixels: int) -> None:
        both.wait()
        for _ in range(200):
            with images._reading(max_pixels):
                image = PIL.Image.new("L", (64, 64))
                image.resize((512, 512))  # releases the interpreter's lock
                assert max_pixels == PIL.Image.MAX_IMAGE_PIXELS

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(read, (100, 10_000)))
    assert bound == PIL.Image.MAX_IMAGE_PIXELS
