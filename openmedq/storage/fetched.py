"""Pictures that were fetched by address: shards of Parquet with an outcome a row, and the pictures of those that came.

A name may stand in several shards: what failed at first, and came later.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from openmedq.errors import ArchiveError
from openmedq.schema import Image
from openmedq.storage.folders import find_all

PICTURES = "pictures"  # the folder of the shards, among a set's files
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
NUM_OPEN_GROUPS = 4  # row groups in memory: rows are asked for nearly in the order in which they were fetched


class Status(StrEnum):
    """What became of a picture."""

    SUCCESS = "success"
    GONE = "gone"  # its server has none of that name, or not for us
    NO_PICTURE = "no picture"  # what came is something else
    NOT_NOW = "not now"  # it may come another time


Outcomes = Mapping[str, tuple[Status, str]]  # by name, with why it did not come


class FetchedPictures:
    """Pictures by name from shards: 100 bytes of memory a name, and a few row groups."""

    def __init__(self, folder: Path) -> None:
        """Index the shards in `folder`, none where it is not there; ArchiveError where one is not whole."""
        self.where = f"in folder {folder.name}"
        self._paths = find_all(folder, "*.parquet")
        self._index: dict[str, int] = {}  # shard, row group and row, packed
        self._groups: OrderedDict[int, pa.Table] = OrderedDict()
        for shard, path in enumerate(self._paths):
            for place, rows in enumerate(_read_groups(path, ["name", "status"])):
                statuses = rows["status"].to_pylist()
                for row, name in enumerate(rows["name"].to_pylist()):
                    if statuses[row] == Status.SUCCESS:
                        self._index[name] = (shard << 20 | place) << 20 | row

    def find(self, name: str) -> Image | None:
        """The picture of that name; None where it is absent, ArchiveError where it is not what was fetched."""
        packed = self._index.get(name)
        if packed is None:
            return None
        row, place = packed & 0xFFFFF, packed >> 20
        group = self._take_group(place)
        data = group["picture"][row].as_py()
        if hashlib.sha256(data).hexdigest() != group["sha256"][row].as_py():
            path = self._paths[place >> 20]
            raise ArchiveError(f"{path.name}: {name}: damaged; remove {path.name}, and fetch again")
        return Image(name, data=data)

    def _take_group(self, place: int) -> pa.Table:
        if place in self._groups:
            self._groups.move_to_end(place)
            return self._groups[place]
        path = self._paths[place >> 20]
        try:
            with pq.ParquetFile(path) as shard:
                group = shard.read_row_group(place & 0xFFFFF, columns=["sha256", "picture"])
        except (pa.ArrowException, OSError):
            raise ArchiveError(f"{path.name}: damaged; remove it, and fetch again") from None
        self._groups[place] = group
        if len(self._groups) > NUM_OPEN_GROUPS:
            self._groups.popitem(last=False)
        return group


def read_outcomes(folder: Path) -> Outcomes:
    """What became of each name; ArchiveError where a shard is not whole."""
    outcomes: dict[str, tuple[Status, str]] = {}
    for path in find_all(folder, "*.parquet"):
        for rows in _read_groups(path, ["name", "status", "error_message"]):
            for row in rows.to_pylist():
                if row["name"] not in outcomes or outcomes[row["name"]][0] is not Status.SUCCESS:
                    outcomes[row["name"]] = (Status(row["status"]), row["error_message"] or "")
    return outcomes


def _read_groups(path: Path, columns: list[str]) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(path) as shard:
            for place in range(shard.num_row_groups):
                yield shard.read_row_group(place, columns=columns)
    except (pa.ArrowException, OSError):
        raise ArchiveError(f"{path}: not a whole shard of pictures; remove it, and fetch again") from None
