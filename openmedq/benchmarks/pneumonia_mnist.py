"""PneumoniaMNIST: children's chest radiographs, normal or pneumonia, 28 x 28 gray (Yang et al., MedMNIST v2, 2023).

Layout read, as published on Zenodo: `pneumoniamnist.npz` with `{train,val,test}_images` (N, 28, 28) uint8 and
`{train,val,test}_labels` (N, 1). Arrays are read one split at a time, and never unpickled.

A file with another md5 than the publisher's is named in the log. What is odd in it, and in the miniature: three of four
pictures show pneumonia; labels are a column, not a row.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openmedq.cards import Access, Card, File
from openmedq.cards.drawing import draw_radiograph, encode_png, generator
from openmedq.errors import SourceError
from openmedq.formats import find_file
from openmedq.io.archives import Members, open_members
from openmedq.schema import Image, Provenance, Reason, Rejected, Role, Sample, Task, Turn

FILE = "pneumoniamnist.npz"
OFFICIAL_MD5 = "28209eda62fecd6e6a2d98b1501bb15f"
SIDE_PX = 28
SPLITS = ("train", "val", "test")

card = Card(
    id="pneumonia_mnist",
    title="PneumoniaMNIST",
    collection="MedMNIST",
    homepage="https://medmnist.com/",
    citation="Yang et al., MedMNIST v2, Scientific Data 2023; Kermany et al., Cell 2018",
    licence="CC-BY-4.0",
    access=Access.OPEN,
    task=Task.CLASSIFICATION,
    modality="radiology",
    files=(File(path=FILE, url=f"https://zenodo.org/records/10519652/files/{FILE}"),),
    roles=dict.fromkeys(SPLITS, Role.EVALUATION),  # the splits are the benchmark's own; the mix trains on none
    published_rows={"train": 4708, "val": 524, "test": 624},
    classes=("normal", "pneumonia"),
    fitted=("train",),
    scored=("test",),
)

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the pictures as PNG; SourceError where the file is absent, cut, or holds other arrays."""
    path = find_file(raw, FILE, f"MedMNIST/{FILE}")
    if path is None:
        raise SourceError(f"{raw}: no `{FILE}`; expected it there, as published at {card.homepage}")
    if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != OFFICIAL_MD5:
        _log.info("%s: not the published file: its md5 differs; scores on it do not compare", path)
    with open_members(path) as members:
        for split in SPLITS:
            images = _read_array(path, members, f"{split}_images.npy")
            labels = _read_array(path, members, f"{split}_labels.npy")
            if images.dtype != np.uint8 or images.shape[1:] != (SIDE_PX, SIDE_PX):
                raise SourceError(
                    f"{path}: {split}_images is {images.dtype} {images.shape}; expected uint8 (N, 28, 28)"
                )
            if labels.dtype.kind not in "iu" or labels.shape != (len(images), 1):
                raise SourceError(
                    f"{path}: {split}_labels is {labels.dtype} {labels.shape}; expected integers ({len(images)}, 1)"
                )
            for index, (pixels, label) in enumerate(zip(images, labels[:, 0], strict=True)):
                yield _represent(path.relative_to(raw).as_posix(), split, index, pixels, int(label))


def _represent(file: str, split: str, index: int, pixels: NDArray[Any], label: int) -> Sample | Rejected:
    name = f"{split}-{index}"
    sample_id, provenance = f"{card.id}/{name}", Provenance(file, f"{split} row {index}")
    if not 0 <= label < len(card.classes):
        detail = f"label {label} is no class"
        return Rejected(sample_id, card.id, split, Reason.ANSWER_NOT_AN_OPTION, detail, provenance)
    return Sample(
        id=sample_id,
        source=card.id,
        split=split,
        task=card.task,
        modality=card.modality,
        licence=card.licence,
        provenance=provenance,
        turns=(Turn("", card.classes[label]),),
        images=(Image(name, data=encode_png(pixels)),),
        labels=(card.classes[label],),
    )


def _read_array(path: Path, members: Members, name: str) -> NDArray[Any]:
    """An array of the npz; its header is checked against its size first, which may be a lie."""
    if name not in members.names:
        raise SourceError(f"{path}: no array `{name.removesuffix('.npy')}`; expected images and labels of {SPLITS}")
    file = io.BytesIO(data := members.read(name))
    try:
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, is_fortran, dtype = read_header[np.lib.format.read_magic(file)](file)
        if dtype.hasobject or is_fortran or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
            raise ValueError("header and size differ")
        return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape)
    except (ValueError, KeyError, OverflowError, SyntaxError) as error:
        text = " ".join(str(error).split())[:100]
        raise SourceError(f"{path}: `{name}` is no plain array ({text}); get the file again") from None


# The miniature --------------------------------------------------------------------------------------------------------


def miniature(raw: Path, seed: int = 0) -> None:
    """Write the npz with 240, 40 and 80 drawn chests, an opacity in three of four."""
    arrays: dict[str, NDArray[np.uint8]] = {}
    for split, num_rows in zip(SPLITS, (240, 40, 80), strict=True):
        random = generator(seed, card.id, split)
        labels = random.permutation(np.arange(num_rows) % 4 > 0)
        pictures = [draw_radiograph(random, has_opacity=bool(label), side_px=SIDE_PX) for label in labels]
        arrays |= {f"{split}_images": np.stack(pictures), f"{split}_labels": labels[:, None].astype(np.uint8)}
    raw.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(raw / FILE, **arrays)  # type: ignore[arg-type]  # members, not the `allow_pickle` switch
