"""Datasets on the Hugging Face hub: Parquet files by split, also with questions on images that are in the rows."""

import hashlib
import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from openmedq.datasets.card import Card
from openmedq.datasets.fields import Content, Record, Unusable, keep, represent, take_optional_text, take_text
from openmedq.datasets.readers import warn_absent
from openmedq.datasets.readers.columnar import stream_parquet
from openmedq.errors import SourceError
from openmedq.schema import Image, Reason, Rejected, Sample, Turn

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
            "%s: only %d of the %d files of the split %s are present", paths[0].parent, len(paths), int(total), split
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


def read_shards(
    card: Card,
    raw: Path,
    shards: Mapping[str, Sequence[Path]],
    columns: Sequence[str] = ("image", "question", "answer"),
    build: Callable[[Record, str], Content] | None = None,
    id_column: str = "",
) -> Iterator[Sample | Rejected]:
    """Read the rows of each split's Parquet files. Without a column of ids, the numbers in the split are the ids.

    SourceError if a file is missing before a present one, whose rows would get the numbers of others.
    """
    seen: dict[str, str] = {}
    for split in card.roles:
        if split not in shards:
            warn_absent(card.id, f"data/{split}-*.parquet", split)
        num_rows = 0
        for place, path in enumerate(shards.get(split, ())):
            match = _SHARD.fullmatch(path.name)
            number = match[2] if match else path.stem
            if number and int(number) != place:
                problem = (
                    f"lacks file {place:05} of the split {split}, so that the rows of {path.name} get wrong numbers"
                )
                raise SourceError(f"{path.parent}: {problem}; get that file, or remove the later ones")
            for row in represent(
                card,
                stream_parquet(path, columns),
                raw=raw,
                path=path,
                identify=partial(_identify, id_column, split, num_rows),
                build=build or _build,
                unit="row",
                seen=seen,
                is_keyed=not id_column,
            ):
                num_rows += 1
                yield row


def _identify(id_column: str, split: str, num_before: int, key: str, record: Record) -> tuple[str, str]:
    return take_text(record, id_column) if id_column else f"{split}-{num_before + int(key)}", split


def _build(record: Record, _: str) -> Content:
    question = take_text(record, "question", empty=Reason.QUESTION_EMPTY)
    answer = take_text(record, "answer", empty=Reason.ANSWER_EMPTY, is_number_allowed=True)
    image, path = take_image(record, "image")
    answer_type = "closed" if answer.lower() in ("yes", "no") else "open"
    return {
        "turns": (Turn(question, answer),),
        "images": (image,),
        "attributes": keep(answer_type=answer_type, image_path=path),
    }
