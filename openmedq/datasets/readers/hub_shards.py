"""Datasets with images on the Hugging Face hub: Parquet files by split, with the images in the rows."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

import pyarrow as pa

from openmedq.datasets.fields import Record, Unusable, take_optional_text
from openmedq.errors import SourceError
from openmedq.schema import Image, Reason

_SHARD = re.compile(r"([a-z]+)(?:-(\d+)-of-(\d+).*)?\.parquet")

_log = logging.getLogger(__name__)

_Found = TypeVar("_Found")


def find_shards(files: Iterable[Path], splits: Mapping[str, str]) -> dict[str, list[Path]]:
    """Find the Parquet files of each split, in order; `splits` maps the word in a file's name to the split.

    The names are `<word>-00000-of-00007-<hash>.parquet`, in one folder or one per word, or `<word>/0000.parquet` in the
    hub's automatic conversion.

    Raises:
        SourceError: A folder has two versions of a split, whose rows would be duplicated.
    """
    folders: dict[PurePath, dict[str, list[Path]]] = {}
    for path in sorted(files):
        match = _SHARD.fullmatch(path.name)
        word = match[1] if match else path.parent.name if path.suffix == ".parquet" and path.stem.isdigit() else ""
        if word in splits:
            folder = path.parent.parent if path.parent.name == word else path.parent
            folders.setdefault(folder, {}).setdefault(splits[word], []).append(path)
    shards = choose_copies(folders)
    for split, paths in shards.items():
        _check_edition(split, paths)
    return shards


def choose_copies(folders: Mapping[PurePath, Mapping[str, _Found]]) -> dict[str, _Found]:
    """Of each split's copies in several folders, choose the uppermost; the others are logged."""
    chosen: dict[str, _Found] = {}
    for folder in sorted(folders, key=lambda folder: (len(folder.parts), folder)):
        for split, found in folders[folder].items():
            if chosen.setdefault(split, found) is not found:
                _log.info("%s: not read: another copy of the split %s is used", folder, split)
    return chosen


def _check_edition(split: str, paths: Sequence[Path]) -> None:
    matches = [_SHARD.fullmatch(path.name) for path in paths]
    places = [match.group(1, 2, 3) if match else path.name for match, path in zip(matches, paths, strict=True)]
    totals = {match[3] if match else None for match in matches}
    if len(set(places)) < len(paths) or len(totals) > 1:
        raise SourceError(f"{paths[0].parent}: two editions of the split {split} in one folder; remove one of them")
    total = totals.pop()
    if total and int(total) != len(paths):
        _log.warning(
            "%s: only %d of the %s files of the split %s are present", paths[0].parent, len(paths), total, split
        )


def take_image(record: Record, name: str) -> tuple[Image, str]:
    """Return the image of a row, named by a digest of its bytes, and the path that the row states, or "".

    Paths cannot name images: they may be empty or shared by several images. Unusable if there are no bytes.
    """
    data, path = record.get(name), ""
    if isinstance(data, dict):
        path = take_optional_text(data, "path")
        data = data.get("bytes")
    if isinstance(data, bytes) and data:
        return Image(hashlib.sha256(data).hexdigest()[:16], data=data), path
    if path:
        raise Unusable(Reason.IMAGE_MISSING, f"no bytes of the image {path}")
    raise Unusable(Reason.FIELD_MISSING, f"field `{name}` contains no image")


def image_schema(*texts: str) -> pa.Schema:
    """Return the schema of an `image` column and text columns, with the metadata that the hub's viewer needs."""
    features: dict[str, object] = {"image": {"_type": "Image"}}
    features |= {name: {"dtype": "string", "_type": "Value"} for name in texts}
    return pa.schema(
        [
            pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            *(pa.field(name, pa.string()) for name in texts),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
