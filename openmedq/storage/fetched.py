"""Images that were downloaded one by one: Parquet shards with a status per row, and the bytes of the successful ones.

A name may be in several shards: a download that failed at first may succeed in a later round.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from openmedq.errors import ArchiveError
from openmedq.schema import Image
from openmedq.storage.folders import find_all

LINKED_IMAGES = "pictures"  # folder of the shards, among a dataset's files
SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("url", pa.string()),
        ("status", pa.string()),
        ("error_message", pa.string()),
        ("sha256", pa.string()),
        ("picture", pa.binary()),
    ]
)
NUM_OPEN_GROUPS = 4  # row groups in memory: images are read nearly in the order of the download


class Status(StrEnum):
    """The result of an image's download."""

    SUCCESS = "success"
    GONE = "gone"  # the server does not have it, or denies it
    NO_IMAGE = "no picture"  # the server sent something else
    NOT_NOW = "not now"  # a later round may succeed


Outcomes = Mapping[str, tuple[Status, str]]  # by name, with the error message


class FetchedImages:
    """Downloaded images by name. Takes 100 bytes of memory per name, and a few row groups."""

    def __init__(self, folder: Path) -> None:
        """Index the shards in `folder`, which need not exist; ArchiveError for a damaged shard."""
        self.where = f"in folder {folder.name}"
        self._paths = find_all(folder, "*.parquet")
        self._index: dict[str, int] = {}  # shard, row group and row, packed into one number
        self._groups: OrderedDict[int, pa.Table] = OrderedDict()
        for shard, path in enumerate(self._paths):
            for place, rows in enumerate(_read_groups(path, ["name", "status"])):
                statuses = rows["status"].to_pylist()
                for row, name in enumerate(rows["name"].to_pylist()):
                    if statuses[row] == Status.SUCCESS:
                        self._index[name] = (shard << 20 | place) << 20 | row

    def find(self, name: str) -> Image | None:
        """The image of that name, or None; ArchiveError if its bytes changed since the download."""
        packed = self._index.get(name)
        if packed is None:
            return None
        row, place = packed & 0xFFFFF, packed >> 20
        group = self._take_group(place)
        data = group["picture"][row].as_py()
        if hashlib.sha256(data).hexdigest() != group["sha256"][row].as_py():
            path = self._paths[place >> 20]
            raise ArchiveError(f"{path.name}: {name}: damaged; remove {path.name} and run the download again")
        return Image(name, data=data)

    def _take_group(self, place: int) -> pa.Table:
        if place not in self._groups:
            path = self._paths[place >> 20]
            with _damage_as_error(path), pq.ParquetFile(path, page_checksum_verification=True) as shard:
                self._groups[place] = shard.read_row_group(place & 0xFFFFF, columns=["sha256", "picture"])
            if len(self._groups) > NUM_OPEN_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(place)
        return self._groups[place]


def read_outcomes(folder: Path) -> Outcomes:
    """The status of each name; ArchiveError for a damaged shard."""
    outcomes: dict[str, tuple[Status, str]] = {}
    for path in find_all(folder, "*.parquet"):
        for rows in _read_groups(path, ["name", "status", "error_message"]):
            for row in rows.to_pylist():
                if row["name"] not in outcomes or outcomes[row["name"]][0] is not Status.SUCCESS:
                    outcomes[row["name"]] = (Status(row["status"]), row["error_message"] or "")
    return outcomes


def _read_groups(path: Path, columns: list[str]) -> Iterator[pa.Table]:
    with _damage_as_error(path), pq.ParquetFile(path, page_checksum_verification=True) as shard:
        for place in range(shard.num_row_groups):
            yield shard.read_row_group(place, columns=columns)


@contextmanager
def _damage_as_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError):
        raise ArchiveError(f"{path}: not a whole shard of images; remove it and run the download again") from None
