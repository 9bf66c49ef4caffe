"""Decode published images safely and encode them for storage: 8-bit gray or RGB, bounded in size, without metadata.

Gray stays gray and color stays color. Files that only need their metadata removed keep their compressed pixels (see
`storage/metadata.py`); others become PNG if the published file is lossless, and JPEG if it is lossy.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import cv2
import imagehash
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import UnidentifiedImageError
from PIL.Image import DecompressionBombError, DecompressionBombWarning, Resampling, Transpose
from PIL.ImageFile import ImageFile

from openmedq.errors import shorten
from openmedq.schema import BrokenImage, EncodedImage, Reason
from openmedq.storage import dicom, unexpected
from openmedq.storage.metadata import strip_jpeg, strip_png, strip_unseen

if TYPE_CHECKING:
    from openmedq.config import Normalize

FORMATS = ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "JPEG2000")  # Pillow tries no other decoder
THUMBNAIL_SIDE_PX = 32
REDUCING_GAP = 2.0  # images are reduced cheaply to this multiple of the bound before they are resampled

_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def encode(published: bytes, settings: Normalize) -> EncodedImage:
    """Return the image in its stored form; `image_id` is empty.

    BrokenImage if the bytes cannot be decoded, or the image has more than `max_pixels`.
    """
    if dicom.is_dicom(published):
        return _encode_dicom(published, settings)
    seen = strip_unseen(published)
    header = _open(seen, settings)
    kept = _keep(header, seen, settings)
    if kept is not None:
        return _describe(published, *kept)

    is_lossy = _is_lossy(header, seen)
    pixels = _load(header, settings.max_side_px)
    if not is_lossy:
        return _describe(published, _to_png(pixels), pixels)
    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG", quality=settings.jpeg_quality, subsampling="4:4:4")
    return _describe(published, buffer.getvalue(), _load(_open(buffer.getvalue(), settings)))


def _encode_dicom(published: bytes, settings: Normalize) -> EncodedImage:
    pixels = dicom.decode(published, settings)
    if (size := _fit(pixels.size, settings.max_side_px)) != pixels.size:
        pixels = pixels.resize(size, Resampling.LANCZOS, None, REDUCING_GAP)
    return _describe(published, _to_png(pixels), pixels)


def _to_png(pixels: PIL.Image.Image) -> bytes:
    """Encode with OpenCV's defaults: 0.4 of the time of Pillow at level 1, for as many bytes of medical images."""
    levels = np.asarray(pixels)
    return cv2.imencode(".png", levels if levels.ndim == 2 else levels[..., ::-1])[1].tobytes()


def _open(data: bytes, settings: Normalize) -> ImageFile:
    """Read the header, and check the number of pixels before any pixel is decoded."""
    if not data:
        raise BrokenImage(Reason.IMAGE_UNREADABLE, "an empty file")
    if found := unexpected.describe(data):
        raise BrokenImage(Reason.IMAGE_UNEXPECTED, f"{found[0]}, not an image; {found[1]}")
    with _reading(settings.max_pixels):
        return PIL.Image.open(io.BytesIO(data), formats=FORMATS)


def _load(header: ImageFile, max_side_px: int | None = None) -> PIL.Image.Image:
    """Decode the first frame: upright, 8-bit L or RGB, without metadata, with sides of at most `max_side_px`."""
    width, height = _fit(header.size, max_side_px)
    with _reading(header.width * header.height):
        is_bounded, box = (width, height) == header.size, None
        if not is_bounded:  # a JPEG's decoder reduces it by 2, 4 or 8 at little cost
            drafted = header.draft(None, (math.ceil(width * REDUCING_GAP), math.ceil(height * REDUCING_GAP)))
            box = drafted[1] if drafted else None
        deep = cast(io.BytesIO, header.fp).getvalue() if header.mode == "RGB" and ";16" in str(header.tile) else b""
        header.load()
        turn = _UPRIGHT.get(_orientation(header))
        pixels = (_read_deep(deep) if deep else None) or _to_gray_or_color(header)
        if is_bounded:
            pixels = pixels if turn is not None else pixels.copy()
        else:
            pixels = pixels.resize((width, height), Resampling.LANCZOS, box, REDUCING_GAP)
        if turn is not None:
            pixels = pixels.transpose(turn)
    pixels.info = {}  # Pillow would save comments and color profiles from `info`
    return pixels


def _read_deep(data: bytes) -> PIL.Image.Image | None:
    """Color of 16 bits a channel, of which Pillow keeps the upper 8 alone: 12 bits in 16 would be nearly black.

    None if OpenCV does not decode it, such as a PNG whose last bytes are missing.
    """
    levels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return None if levels is None else PIL.Image.fromarray(_to_8_bit(levels[..., 2::-1]))


def _fit(size: tuple[int, int], max_side_px: int | None) -> tuple[int, int]:
    """Width and height with a longer side of at most `max_side_px`."""
    longer = max(size)
    bound = longer if max_side_px is None else min(longer, max_side_px)
    width, height = (max(1, round(side * bound / longer)) for side in size)
    return width, height


@contextmanager
def _reading(max_pixels: int) -> Iterator[None]:
    """Turn every exception of a decoder into a BrokenImage, and ignore other warnings.

    Pillow warns if a file or a frame has more pixels than MAX_IMAGE_PIXELS; the warning is turned into an error.
    """
    dicom.READING.acquire()
    bound = PIL.Image.MAX_IMAGE_PIXELS
    PIL.Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", DecompressionBombWarning)
            yield
    except (BrokenImage, MemoryError):  # lack of memory is not an error of the image
        raise
    except Exception as error:  # SyntaxError, struct.error, KeyError, ...
        error.__traceback__ = None  # on Python 3.13 its frames are a cycle that keeps the image's bytes alive
        raise _as_broken(error, max_pixels) from None
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = bound
        dicom.READING.release()


def _as_broken(error: Exception, max_pixels: int) -> BrokenImage:
    if isinstance(error, (DecompressionBombError, DecompressionBombWarning)):
        return BrokenImage(Reason.IMAGE_TOO_LARGE, f"more than {max_pixels} pixels")
    if isinstance(error, UnidentifiedImageError):
        return BrokenImage(Reason.IMAGE_UNREADABLE, f"none of {', '.join(FORMATS)}")
    return BrokenImage(Reason.IMAGE_UNREADABLE, _one_line(error))


def _one_line(error: Exception) -> str:
    line = shorten(error, 120)
    printable = line.isascii() and " at 0x" not in line  # a memory address differs at each run
    return f"{type(error).__name__}: {line}" if line and printable else type(error).__name__


def _keep(header: PIL.Image.Image, published: bytes, settings: Normalize) -> tuple[bytes, PIL.Image.Image] | None:
    """The published bytes without metadata, and their pixels; None if the pixels have to be encoded again."""
    if header.mode not in ("L", "RGB") or max(header.size) > settings.max_side_px:
        return None
    try:
        with _reading(settings.max_pixels):
            if header.format == "JPEG" and _orientation(header) == 1:
                kept = strip_jpeg(published)
            elif header.format == "PNG" and _is_plain_png(header, published):
                kept = strip_png(published)
            else:
                return None
        return kept, _load(_open(kept, settings))
    except BrokenImage:
        return None


def _is_plain_png(header: PIL.Image.Image, published: bytes) -> bool:
    """Whether the PNG has 8 bits (byte 24), is opaque, and has no orientation."""
    return published[24] == 8 and "transparency" not in header.info and b"eXIf" not in published


def _orientation(header: PIL.Image.Image) -> int:
    try:
        return int(header.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata
        return 1


def _is_lossy(header: PIL.Image.Image, published: bytes) -> bool:
    if header.format == "WEBP":
        return b"VP8L" not in published[:64]
    if header.format == "TIFF":
        return header.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
    return header.format in ("JPEG", "MPO")


def _to_gray_or_color(image: PIL.Image.Image) -> PIL.Image.Image:
    """8-bit L or RGB. A palette image becomes gray if all colors that it uses are gray."""
    mode = image.mode
    if mode in ("L", "RGB"):
        return _flatten(image.convert(f"{mode}A")) if "transparency" in image.info else image
    if mode == "1":
        return image.convert("L")
    if mode in ("P", "PA"):
        color = _flatten(image.convert("RGBA"))
        red, green, blue = (np.asarray(band) for band in color.split())
        is_gray = np.array_equal(red, green) and np.array_equal(green, blue)
        return color.getchannel(0) if is_gray else color
    if mode in ("LA", "RGBA"):
        return _flatten(image)
    if mode in ("CMYK", "YCbCr", "RGBX", "HSV"):
        return image.convert("RGB")
    if mode.startswith("I") or mode == "F":
        return PIL.Image.fromarray(_to_8_bit(np.asarray(image)))
    raise BrokenImage(Reason.IMAGE_UNREADABLE, f"pixel mode {mode} is not supported")


def _flatten(image: PIL.Image.Image) -> PIL.Image.Image:
    """Compose transparent pixels onto black."""
    *colors, alpha = image.split()
    color = PIL.Image.merge("RGB" if len(colors) == 3 else "L", colors)
    return PIL.Image.composite(color, PIL.Image.new(color.mode, color.size), alpha)


def _to_8_bit(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Levels of more than 8 bits, (H, W) or (H, W, 3), reduced to 8 bits.

    The bit depth is that of the highest level, at least 8: headers rarely state that only 12 of 16 bits are in use.
    Negative levels are shifted to start at zero. Floats up to 1 are fractions of white.
    """
    if not np.isfinite(levels).all():
        raise BrokenImage(Reason.IMAGE_UNREADABLE, "gray levels are not finite")
    wide = levels.astype(np.float64)
    wide -= min(0.0, float(wide.min()))
    highest = float(wide.max())
    if levels.dtype.kind == "f" and highest <= 1:
        wide *= 255
        return wide.round(out=wide).astype(np.uint8)
    wide /= 2.0 ** (max(8, int(highest).bit_length()) - 8)
    return wide.astype(np.uint8)  # truncated, as a bit shift does


def _describe(published: bytes, data: bytes, pixels: PIL.Image.Image) -> EncodedImage:
    gray = pixels.convert("L")
    thumbnail = gray.resize((THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), Resampling.BOX)
    head = f"{pixels.mode} {pixels.width} {pixels.height}\n".encode()
    return EncodedImage(
        image_id="",
        data=data,
        sha256=hashlib.sha256(published).hexdigest(),
        pixels_sha256=hashlib.sha256(head + pixels.tobytes()).hexdigest(),
        phash=int(str(imagehash.phash(gray)), 16),
        thumbnail=thumbnail.tobytes(),
        width=pixels.width,
        height=pixels.height,
    )
