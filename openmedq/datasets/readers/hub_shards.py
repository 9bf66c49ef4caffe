"""Datasets with images on the Hugging Face hub: Parquet files by split, with the images in the rows."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from openmedq.datasets.fields import Record, Unusable, take_optional_text
from openmedq.errors import SourceError
from openmedq.schema import Image, Reason

_SHARD = re.compile(r"([a-z]+)(?:-(\d+)-of-(\d+).*)?\.parquet")

_log = logging.getLogger(__name__)


def find_shards(files: Iterable[Path], splits: Collection[str]) -> dict[str, list[Path]]:
    """Find the Parquet files of each split, in order; of several copies, the uppermost is used and others are logged.

    The names are `<split>-00000-of-00007-<hash>.parquet`, in one folder or one per split, or `<split>/0000.parquet` in
    the hub's automatic conversion.

    Raises:
        SourceError: A folder has two versions of a split, whose rows would be duplicated.
    """
    copies: dict[tuple[Path, str], list[Path]] = {}
    for path in sorted(files):
        match = _SHARD.fullmatch(path.name)
        split = match[1] if match else path.parent.name if path.suffix == ".parquet" and path.stem.isdigit() else ""
        if split in splits:
            folder = path.parent.parent if path.parent.name == split else path.parent
            copies.setdefault((folder, split), []).append(path)
    shards: dict[str, list[Path]] = {}
    for folder, split in sorted(copies, key=lambda copy: (len(copy[0].parts), copy)):
        if split in shards:
            _log.info("%s: not read: another copy of the split %s is used", folder, split)
        else:
            shards[split] = copies[folder, split]
            _check_edition(split, shards[split])
    return shards


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
