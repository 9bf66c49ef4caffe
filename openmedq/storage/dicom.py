"""DICOM images as 8-bit gray or color, with what their header says about how to show them (extra `dicom`).

Of the tags, a row gets only those of `_ATTRIBUTES`, and pseudonyms of patient and study. Messages of pydicom can quote
any tag, so they are neither logged nor passed on.

Source: DICOM PS3.3, C.7.6.3 (image pixel), C.11.1 (modality LUT), C.11.2 (VOI LUT).
"""

from __future__ import annotations

import io
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from openmedq.schema import BrokenImage, Reason

if TYPE_CHECKING:
    from openmedq.config import Normalize

READING = threading.RLock()  # Python's filters of warnings and Pillow's bound are global: the demo has threads
HEAD_BYTES = 132
MISSING = "a DICOM file, which needs pydicom; pip install 'openmedq[dicom]'"
BURNED_IN = "burned_in_annotation"  # attribute of a row: "yes" if the header says that the pixels contain text

_ATTRIBUTES = {  # tag: attribute of the row
    "Modality": "dicom_modality",
    "BodyPartExamined": "body_part",
    "ViewPosition": "view_position",
    "ImageLaterality": "laterality",
    "BurnedInAnnotation": BURNED_IN,
}
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")  # the value representation CS; other values are free text
_BARE = re.compile(rb"[\2\10]\0.\0", re.DOTALL)  # an element of group 2 or 8, as files without a preamble begin


def is_dicom(head: bytes) -> bool:
    """Whether the bytes begin as a DICOM file: a preamble of 128 bytes, then the prefix; old archives lack both."""
    return head[128:132] == b"DICM" or _BARE.match(head) is not None


def is_dicom_file(path: Path) -> bool:
    """Whether the file exists and begins as a DICOM file."""
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(HEAD_BYTES))
    except OSError:
        return False


def read_tags(file: Path | BinaryIO) -> tuple[dict[str, str], str, str]:
    """Attributes, patient's id and study's id of a file; empty if it is damaged or pydicom is not installed."""
    try:
        with _quietly():
            from pydicom import dcmread

            tags = [*_ATTRIBUTES, "PatientID", "StudyInstanceUID"]
            header = dcmread(file, stop_before_pixels=True, specific_tags=tags, force=True)
            texts = {tag: str(header.get(tag) or "").strip() for tag in tags}
    except (ModuleNotFoundError, BrokenImage):
        return {}, "", ""
    attributes = {name: texts[tag].lower() for tag, name in _ATTRIBUTES.items() if _CODE.fullmatch(texts[tag])}
    return attributes, texts["PatientID"], texts["StudyInstanceUID"]


def decode(data: bytes, settings: Normalize) -> PIL.Image.Image:
    """Return the image in mode L or RGB, windowed as the header states, or else over its range of levels.

    BrokenImage for a file without pixels, of too many pixels, of several frames unless `dicom_frame` selects one, or
    in an encoding without decoder.
    """
    try:
        with _quietly():
            from pydicom import dcmread, uid

            dataset = dcmread(io.BytesIO(data), force=True)
            if not dataset.file_meta.get("TransferSyntaxUID"):
                is_implicit = dataset.original_encoding[0]
                syntax = uid.ImplicitVRLittleEndian if is_implicit else uid.ExplicitVRLittleEndian
                dataset.file_meta.TransferSyntaxUID = syntax
            frame = _choose_frame(dataset, settings)
            return PIL.Image.fromarray(_show(dataset, frame))
    except ModuleNotFoundError:
        raise BrokenImage(Reason.IMAGE_UNREADABLE, MISSING) from None


def _choose_frame(dataset: Any, settings: Normalize) -> int:
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise BrokenImage(Reason.IMAGE_UNREADABLE, "a DICOM file without pixels")
    if int(dataset.Rows) * int(dataset.Columns) > settings.max_pixels:
        raise BrokenImage(Reason.IMAGE_TOO_LARGE, f"more than {settings.max_pixels} pixels")
    num_frames = int(dataset.get("NumberOfFrames") or 1)
    if num_frames > 1 and settings.dicom_frame == "reject":
        advice = "set normalize.dicom_frame to first or middle"
        raise BrokenImage(Reason.IMAGE_UNREADABLE, f"a DICOM file with {num_frames} frames; {advice}")
    return num_frames // 2 if settings.dicom_frame == "middle" else 0


def _show(dataset: Any, frame: int) -> NDArray[np.uint8]:
    """The frame as shown, (H, W) or (H, W, 3)."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    levels = pixel_array(dataset, index=frame)  # YBR is converted to RGB
    _take_groups(dataset, frame)
    kind = str(dataset.PhotometricInterpretation)
    if kind == "PALETTE COLOR":
        levels = apply_color_lut(levels, dataset)
    if levels.ndim == 3:
        num_bits = 8 * levels.dtype.itemsize if kind == "PALETTE COLOR" else int(dataset.BitsStored)
        is_narrow = int(levels.max()) < 256  # 8 bits that are stored in 16, as some devices do
        color: NDArray[np.uint8] = (levels >> (0 if is_narrow else max(0, num_bits - 8))).astype(np.uint8)
        return color
    padding = dataset.get("PixelPaddingValue")
    is_shown = np.ones_like(levels, bool)
    if padding is not None:  # of signed pixels, it is often stored as unsigned
        limit = dataset.get("PixelPaddingRangeLimit")
        low, high = sorted(np.array([int(padding), int(padding if limit is None else limit)]).astype(levels.dtype))
        is_shown = (levels < low) | (levels > high)
    share = _apply_voi(apply_modality_lut(levels, dataset), dataset, is_shown)
    if kind == "MONOCHROME1":  # the lowest level is white
        np.subtract(1, share, out=share)
    share *= 255
    return share.round(out=share).astype(np.uint8)


def _apply_voi(levels: NDArray[Any], dataset: Any, is_shown: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Gray levels as shares of white, (H, W); in place, because an image of 100 million pixels takes 0.8 GB."""
    if dataset.get("VOILUTSequence"):
        return _look_up(
            levels, dataset.VOILUTSequence[0], is_little=dataset.file_meta.TransferSyntaxUID.is_little_endian
        )
    wide = levels.astype(np.float64)
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    named = [dataset.get(name) for name in ("WindowCenter", "WindowWidth")]
    center, width = (0.0, 0.0) if None in named else map(_first, named)
    if width < 1 and (function == "LINEAR" or width <= 0):  # no window, or one that the standard excludes
        where: Any = is_shown if is_shown.any() else True
        low, high = float(wide.min(initial=np.inf, where=where)), float(wide.max(initial=-np.inf, where=where))
        wide -= low
        wide /= max(high - low, 1e-9)
        return wide.clip(0, 1, out=wide)
    if function == "LINEAR":  # C.11.2.1.2.1: from center - 0.5 - (width - 1) / 2 on
        center, width = center - 0.5, max(width - 1, 1e-9)
    wide -= center
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * wide / width))
    wide /= width
    wide += 0.5
    return wide.clip(0, 1, out=wide)


def _look_up(levels: NDArray[Any], table: Any, *, is_little: bool) -> NDArray[np.float64]:
    """Shares of white by a lookup table. pydicom's `apply_voi` is wrong for tables with entries of 8 bits."""
    num_entries, first, num_bits = map(int, table.LUTDescriptor)
    entries = table.LUTData
    if isinstance(entries, bytes):
        is_packed = len(entries) < 2 * (num_entries % 2**16 or 2**16)  # one byte an entry
        entries = np.frombuffer(entries, "u1" if is_packed else "<u2" if is_little else ">u2")
    places = (levels.astype(np.float64) - first).clip(0, len(entries) - 1).astype(int)
    shares: NDArray[np.float64] = (np.asarray(entries, np.float64) / (2.0**num_bits - 1)).clip(0, 1)[places]
    return shares


def _take_groups(dataset: Any, frame: int) -> None:
    """Copy rescale and window of the frame, which an enhanced multi-frame object has in functional groups."""
    for name, place in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", frame)):
        for group in (dataset.get(name) or [])[place : place + 1]:
            for kind in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for item in group.get(kind) or []:
                    dataset.update(item)


def _first(value: Any) -> float:
    """The first of several windows."""
    return float(value[0] if hasattr(value, "__getitem__") and not isinstance(value, str) else value)


@contextmanager
def _quietly() -> Iterator[None]:
    """Turn each exception into a BrokenImage, and hide warnings and logs: all of them may quote a tag."""
    READING.acquire()
    logger = logging.getLogger("pydicom")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (BrokenImage, ModuleNotFoundError, MemoryError):
        raise
    except Exception as error:
        raise BrokenImage(
            Reason.IMAGE_UNREADABLE, f"a damaged or unsupported DICOM file ({type(error).__name__})"
        ) from None
    finally:
        logger.disabled = before
        READING.release()
