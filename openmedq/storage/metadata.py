"""Takes out of a JPEG or PNG what is not the picture, without touching the picture: it may name a patient.

EXIF, XMP, comments, text, colour profiles, embedded thumbnails and whatever follows the end go; compressed pixels and
what it takes to decode them stay byte for byte. Nothing is decoded here.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_APP0, _APP1, _APP14, _APP15 = 0xE0, 0xE1, 0xEE, 0xEF
_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)  # in compressed data: no stuffing, no restart

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND"))
_PNG_SHOWN = _PNG_NEEDED | {b"tRNS", b"eXIf"}  # these change what is seen, so that its reader has to know them
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def strip_jpeg(data: bytes) -> bytes:
    """The JPEG without metadata; ValueError where its segments don't add up."""
    return b"".join(_jpeg_parts(data))


def strip_png(data: bytes) -> bytes:
    """The PNG without any chunk that is not needed to decode it; ValueError where its chunks don't add up."""
    return b"".join(_png_parts(data, _PNG_NEEDED))


def strip_unseen(data: bytes) -> bytes:
    """The JPEG or PNG without metadata that change no pixel as it is seen; any other file as it is.

    A decoder refuses whole images for their texts or color profiles: too long, damaged, or bombs. Orientation and
    transparency stay.
    """
    try:
        if data.startswith(_PNG_SIGNATURE):
            return b"".join(_png_parts(data, _PNG_SHOWN))
        return b"".join(_jpeg_parts(data, kept=_APP1))
    except ValueError:
        return data


def _jpeg_parts(data: bytes, kept: int | None = None) -> Iterator[bytes]:
    if data[:2] != b"\xff\xd8":
        raise ValueError("no JPEG")
    yield data[:2]
    position = 2
    while True:
        found = _NEXT_MARKER.match(data, position)
        if not found:
            raise ValueError(f"no marker at byte {position}")
        marker, start = found[1][0], found.end()
        if marker == _EOI:
            yield b"\xff\xd9"
            return
        length = int.from_bytes(data[start : start + 2], "big")
        end = start + length
        if length < 2 or end > len(data):
            raise ValueError(f"segment at byte {position} is cut")
        if marker == _SOS:  # the compressed pixels follow their header without a length
            after = _NEXT_MARKER.search(data, end)
            if not after:
                raise ValueError("no end of the picture")
            end = after.start()
        if marker == kept:
            yield data[position:end]
        else:
            yield _jpeg_segment(marker, data[start + 2 : end] if marker != _SOS else data[start:end])
        position = end


def _jpeg_segment(marker: int, payload: bytes) -> bytes:
    head = bytes((0xFF, marker))
    if marker == _SOS:
        return head + payload
    if marker == _APP0 and payload.startswith(b"JFIF\0") and len(payload) >= 14:
        payload = payload[:12] + b"\0\0"  # density and colour space by convention; no embedded thumbnail
    elif marker == _APP14 and payload.startswith(b"Adobe") and len(payload) >= 12:
        payload = payload[:12]  # says how the colours were transformed
    elif _APP0 <= marker <= _APP15 or marker == _COM:
        return b""
    return head + struct.pack(">H", len(payload) + 2) + payload


def _png_parts(data: bytes, kept: frozenset[bytes]) -> Iterator[bytes]:
    if not data.startswith(_PNG_SIGNATURE):
        raise ValueError("no PNG")
    yield _PNG_SIGNATURE
    position, name, has_pixels = len(_PNG_SIGNATURE), b"", False
    while name != b"IEND":
        length, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            if not has_pixels or name == b"IDAT":
                raise ValueError(f"chunk at byte {position} is cut")
            yield _PNG_END  # whether the pixels are whole is for the decoder to find out
            return
        if name in kept and (name != b"eXIf" or _is_intact(data[position:end])):
            yield data[position:end]
        has_pixels = has_pixels or name == b"IDAT"
        position = end


def _is_intact(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
