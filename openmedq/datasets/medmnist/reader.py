"""The layout that the MedMNIST datasets share: one npz per dataset and image size (https://medmnist.com/).

`<name>.npz` has images of 28 px, `<name>_{64,128,224}.npz` larger ones. Its arrays are `{train,val,test}_images`, uint8
of shape (N, side, side) or (N, side, side, 3), and `{train,val,test}_labels`, class numbers of shape (N, 1). Nothing is
unpickled, and images are read one by one, because those of 224 px do not fit into memory.

Copies of the files with other rows exist, and scores on them are not comparable with MedMNIST's. So a file with another
md5 than the published one is refused unless the setting `normalize.allow_unofficial` is true. The generated miniature
has a further array, `generated`, which no published file has.
"""

import errno
import io
import logging
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PixelImage

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import Content, Record, Unusable, represent
from openmedq.datasets.readers import find_files_below, not_found, use_first
from openmedq.errors import SourceError, shorten
from openmedq.schema import Image, Provenance, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.archives import open_members
from openmedq.storage.origin import compute_md5

SPLITS = ("train", "val", "test")
SIDE_PX = 28  # of MedMNIST; MedMNIST+ has the larger sizes
SIDES_PX = (SIDE_PX, 64, 128, 224)
_ALIASES = ("MedMNIST-v2", "MedMNIST/MedMNIST", "albertvillanova/medmnist-v2", "10519652")
_URL = "https://zenodo.org/records/10519652/files"

GENERATED = "generated"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError)

_log = logging.getLogger(__name__)

Rows = Iterator[Sample | Rejected]
Array = tuple[tuple[int, ...], np.dtype[Any]]  # shape and type of an array


def define(
    *,
    id: str,
    title: str,
    citation: str,
    modality: str,
    num_rows: tuple[int, int, int],
    classes: tuple[str, ...],
    class_names: Mapping[str, str] | None = None,
    num_channels: int,
    md5s: tuple[str, str, str, str],
    **pin: Any,
) -> tuple[Card, Callable[..., Rows]]:
    """Return the card and the `read` of one dataset.

    `num_rows` are the rows of each of SPLITS, the benchmark's own splits; `num_channels` is 1 for gray, 3 for RGB;
    `md5s` are those of the files of SIDES_PX; `pin` is what else is known of the first one, which is downloaded.
    """
    stem = title.lower()
    names = [f"{stem}.npz" if side == SIDE_PX else f"{stem}_{side}.npz" for side in SIDES_PX]
    card = Card(
        id=id,
        kind="benchmark",
        title=title,
        aliases=_ALIASES,
        collection="MedMNIST",
        homepage="https://medmnist.com/",
        citation=citation,
        licence="CC-BY-4.0",
        access=Access.OPEN,
        task=Task.CLASSIFICATION,
        modality=modality,
        files=(File(path=names[0], url=f"{_URL}/{names[0]}?download=1", md5=md5s[0], **pin),),
        roles=dict.fromkeys(SPLITS, Role.EVALUATION),
        published_rows=dict(zip(SPLITS, num_rows, strict=True)),
        classes=classes,
        class_names=class_names or {},
        fitted=("train",),
        validated=("val",),
        scored=("test",),
    )
    return card, partial(read, card, dict(zip(names, md5s, strict=True)), num_channels)


def read(
    card: Card, official_md5s: Mapping[str, str], num_channels: int, raw: Path, allow_unofficial: bool = False
) -> Rows:
    """Stream the images as PNG, each with its class; of the files in `official_md5s`, the first that exists is read.

    `allow_unofficial` reads a file whose md5 is not a published one, and logs its name. SourceError if there is no
    file, or if it is damaged, has other arrays, or is not the published one.
    """
    paths = find_files_below(raw, *official_md5s)
    if not paths:
        raise not_found(card, raw, f"`{next(iter(official_md5s))}`")
    path = use_first(paths)
    with open_members(path) as members:  # refuses a damaged or unsafe archive
        is_generated = f"{GENERATED}.npy" in members.names
    _check_md5(path, card, official_md5s, is_generated=is_generated, is_allowed=allow_unofficial)
    yield from represent(
        card,
        _stream(path, path.relative_to(raw).as_posix(), num_channels),
        raw=raw,
        path=path,
        identify=lambda _, record: (record["name"], record["split"]),
        build=partial(_build, card),
    )


def _check_md5(
    path: Path, card: Card, official_md5s: Mapping[str, str], *, is_generated: bool, is_allowed: bool
) -> None:
    found = compute_md5(path)
    if found in official_md5s.values() or is_generated:
        return
    problem = f"{path}: not the published file (md5 {found})"
    if not is_allowed:
        advice = f"get it from {card.homepage}, or set `normalize.allow_unofficial: true`"
        raise SourceError(f"{problem}: scores on it are not comparable; {advice}")
    _log.info("%s: read anyway; scores on it are not comparable", problem)


def _stream(path: Path, file: str, num_channels: int) -> Iterator[tuple[Provenance, Record]]:
    with zipfile.ZipFile(path) as archive:
        for split in SPLITS:
            labels = _read_labels(path, archive, split)
            images = _stream_images(path, archive, split, len(labels), num_channels)
            for index, (pixels, label) in enumerate(zip(images, labels, strict=True)):
                record = {"name": f"{split}-{index}", "split": split, "pixels": pixels, "label": label}
                yield Provenance(file, f"{split} row {index}"), record


def _build(card: Card, record: Record, _: str) -> Content:
    label = record["label"]
    if not 0 <= label < len(card.classes):
        raise Unusable(Reason.ANSWER_NOT_AN_OPTION, f"label {label} is not a class")
    return {
        "turns": (Turn("", card.classes[label]),),
        "images": (Image(record["name"], data=_encode_png(record["pixels"])),),
        "labels": (card.classes[label],),
    }


def _encode_png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    PixelImage.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _read_labels(path: Path, archive: zipfile.ZipFile, split: str) -> list[int]:
    name = f"{split}_labels"
    with _open_array(path, archive, name) as (file, (shape, dtype)):
        if dtype.kind not in "iu" or len(shape) != 2 or shape[1] != 1:
            raise SourceError(f"{path}: {name} is {dtype} {shape}; expected integers (N, 1); get the file again")
        return [int(label) for label in np.frombuffer(file.read(shape[0] * dtype.itemsize), dtype)]


def _stream_images(
    path: Path, archive: zipfile.ZipFile, split: str, num_images: int, num_channels: int
) -> Iterator[NDArray[np.uint8]]:
    name = f"{split}_images"
    with _open_array(path, archive, name) as (file, (shape, dtype)):
        side_px = shape[1] if len(shape) > 1 else 0
        pixels_shape = (side_px, side_px) if num_channels == 1 else (side_px, side_px, num_channels)
        if dtype != np.uint8 or side_px not in SIDES_PX or shape != (num_images, *pixels_shape):
            one = "(28, 28)" if num_channels == 1 else f"(28, 28, {num_channels})"
            expected = f"{num_images} of {one}, as many as labels, or of {', '.join(map(str, SIDES_PX[1:]))} px"
            raise SourceError(f"{path}: {name} is {dtype} {shape}; expected uint8, {expected}; get the file again")
        for _ in range(num_images):
            data = file.read(math.prod(pixels_shape))
            yield np.frombuffer(data, np.uint8).reshape(pixels_shape)


@contextmanager
def _open_array(path: Path, archive: zipfile.ZipFile, name: str) -> Iterator[tuple[IO[bytes], Array]]:
    """Open an array of the npz; its header is untrusted and checked against its size."""
    member = f"{name}.npy"
    if member not in archive.namelist():
        raise SourceError(
            f"{path}: no array `{name}`; expected images and labels of {', '.join(SPLITS)}; get the file again"
        )
    try:
        with archive.open(member) as file:
            shape, is_fortran, dtype = _read_header(file)
            size_bytes = archive.getinfo(member).file_size - file.tell()
            if dtype.hasobject or is_fortran or math.prod(shape) * dtype.itemsize != size_bytes:
                raise ValueError("header and size differ")
            yield file, (shape, dtype)
    except (ValueError, OverflowError, OSError, *_DAMAGE) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a seek before the start of the file
            raise
        raise SourceError(
            f"{path}: `{member}` is not a plain array ({shorten(error, 100)}); get the file again"
        ) from None


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        return _HEADERS[np.lib.format.read_magic(file)](file)
    except _DAMAGE:
        raise
    except Exception:  # NumPy parses it as Python: TokenError, SyntaxError, MemoryError ...
        raise ValueError("its header cannot be read") from None
