"""Decode images to the pixels that the saved processor would give, in a fraction of its time.

The processor resizes with Pillow, which takes longer than the decoding itself. Here torch resizes, one axis at a time.
A large JPEG is decoded at a reduced size by its own transform (libjpeg's scaled IDCT), and gray stays one channel until
it is resized. Pixels remain uint8, and a batch is normalized on the device of the model.

At full size the pixels are the processor's, give or take 1/255. At reduced size the mean difference is at most 0.3/255
and its 99th percentile 4/255 for the images of VQA-RAD, and more for pages full of text.
"""

import io
from collections.abc import Sequence
from typing import Any, cast

import cv2
import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from PIL.Image import Resampling
from PIL.JpegImagePlugin import get_sampling
from torch import Tensor

from openmedq.errors import ModelError
from openmedq.schema import Image

Pixels = NDArray[np.uint8]  # (H, W) gray or (H, W, 3) RGB

MIN_REST = 2.25  # sides of a reduced JPEG, in target sides: with 2, sharp edges differ by more than 8/255

_RESIZE: dict[int, Any] = {
    Resampling.BILINEAR: torch.ops.aten._upsample_bilinear2d_aa,
    Resampling.BICUBIC: torch.ops.aten._upsample_bicubic2d_aa,
}
_SAMPLINGS = (0, 2)  # 4:4:4 and 4:2:0
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_GRAY = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_COLOR = {"L": 0, "RGB": cv2.IMREAD_COLOR_RGB}

cv2.setNumThreads(1)  # the loader processes use the cores


def decode(image: Image, side_px: int, resample: int) -> Tensor:
    """Decode an image and resize it to (3, S, S) uint8, RGB; the channels of a gray image share their memory.

    Args:
        image: its bytes, or the path of its file.
        side_px: S.
        resample: the processor's filter, a `PIL.Image.Resampling`: BILINEAR or BICUBIC.

    Raises:
        ModelError: the image has neither bytes nor a path, or can't be decoded.
    """
    try:
        data = image.path.read_bytes() if image.data is None and image.path is not None else image.data
        if data is None:
            raise ModelError(f"{image.image_id}: the sample was read without its images")
        with PIL.Image.open(io.BytesIO(data)) as header:
            reduction = _find_reduction(header, side_px)
            pixels = _decode_plain(data, header, reduction)
            if pixels is None:
                reduction, pixels = 1, _decode_any(header)
            height, width = header.height / reduction, header.width / reduction
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises them all
        raise ModelError(f"{image.image_id}: the image can't be decoded: {error}") from None
    return _resize(pixels, height, width, side_px, _RESIZE[resample])


def normalize(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Convert (N, 3, S, S) uint8 to float32 in [0, 1], less `mean` and divided by `std` of each channel.

    It runs on the device of the pixels, and moves nothing to it.
    """
    normalized = pixels.float()
    for channel, center, spread in zip(normalized.unbind(1), mean, std, strict=True):
        channel.sub_(255 * center).div_(255 * spread)
    return normalized


def _find_reduction(header: PIL.Image.Image, side_px: int) -> int:
    """Return by how much the decoder divides the sides: 1 unless the image is a large JPEG.

    With other samplings than 4:4:4 and 4:2:0, it would divide the width of the color planes by twice as much.
    """
    if header.format != "JPEG" or (header.mode != "L" and get_sampling(header) not in _SAMPLINGS):
        return 1
    shorter_px = min(header.size)
    return next((number for number in (8, 4, 2) if shorter_px >= MIN_REST * number * side_px), 1)


def _decode_plain(data: bytes, header: PIL.Image.Image, reduction: int) -> Pixels | None:
    """Decode a JPEG or PNG that is complete, opaque, and gray or RGB with OpenCV, which is faster; others are None.

    Both libraries give the same pixels. OpenCV does not report that a file was cut short.
    """
    is_plain = header.mode in _COLOR and not header.has_transparency_data
    if not is_plain or header.format not in _ENDS or not data.endswith(_ENDS[header.format]):
        return None
    flags = _GRAY[reduction] | _COLOR[header.mode] | cv2.IMREAD_IGNORE_ORIENTATION  # the processor ignores it too
    return cast("Pixels | None", cv2.imdecode(np.frombuffer(data, np.uint8), flags))


def _decode_any(opened: PIL.Image.Image) -> Pixels:
    """Decode with Pillow; transparent pixels are composed onto white, as the processor does."""
    if opened.mode in ("1", "L") and not opened.has_transparency_data:
        return np.array(opened.convert("L"))
    if opened.has_transparency_data:
        opaque = opened.convert("RGBA")
        white = PIL.Image.new("RGBA", opaque.size, (255, 255, 255, 255))
        return np.array(PIL.Image.alpha_composite(white, opaque).convert("RGB"))
    return np.array(opened.convert("RGB"))


def _resize(pixels: Pixels, height: float, width: float, side_px: int, resize: Any) -> Tensor:
    """Resize to (3, S, S) with antialiasing.

    `height` and `width` are those of the image. A reduced image may have up to one row and column more, cut by the
    edge of the image.
    """
    scale_y, scale_x = side_px / height, side_px / width
    # Pillow 13 resizes such images along the height first, others along the width. The order matters where the filter
    # overshoots at sharp edges, because pixels are clipped in between.
    is_height_first = height > side_px and height - side_px > 2 * (width - side_px)
    if pixels.ndim == 3:
        packed = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # channels last
        if is_height_first:
            packed = resize(packed, (side_px, packed.shape[3]), False, scale_y, None)
            scale_y = 1.0
        color: Tensor = resize(packed, (side_px, side_px), False, scale_y, scale_x)[0]
        return color.contiguous()
    if is_height_first:
        resized = _resize_width(_resize_height(pixels, scale_y, side_px, resize), scale_x, side_px, resize)
    else:
        resized = _resize_height(_resize_width(pixels, scale_x, side_px, resize), scale_y, side_px, resize)
    return torch.from_numpy(resized).expand(3, -1, -1)


def _resize_height(gray: Pixels, scale: float, side_px: int, resize: Any) -> Pixels:
    """Resize (H, W) to (S, W).

    torch's kernel reads pixels of four channels, and would add three to a gray image. In this direction, four columns
    can be passed as channels.
    """
    width = gray.shape[1]
    padded: Any = cv2.copyMakeBorder(gray, 0, 0, 0, -width % 4, cv2.BORDER_REPLICATE) if width % 4 else gray
    packed = torch.from_numpy(padded).view(1, len(gray), -1, 4).permute(0, 3, 1, 2)  # channels last
    resized = resize(packed, (side_px, packed.shape[3]), False, scale, None)
    rows: Pixels = resized.permute(0, 2, 3, 1).reshape(side_px, -1)[:, :width].numpy()
    return rows


def _resize_width(gray: Pixels, scale: float, side_px: int, resize: Any) -> Pixels:
    columns: Any = cv2.transpose(gray)
    return cast(Pixels, cv2.transpose(_resize_height(columns, scale, side_px, resize)))
