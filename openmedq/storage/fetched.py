"""Images that were downloaded one by one: Parquet shards with a status per row, and the bytes of the successful ones.

A name may be in several shards: a download that failed at first may succeed in a later run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from openmedq.errors import ArchiveError
from openmedq.schema import Image
from openmedq.storage.folders import find_all
from openmedq.storage.publish import replacing

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
GROUP_BYTES = 16 * 2**20  # of images in a row group
NUM_OPEN_GROUPS = 4  # row groups in memory: images are read nearly in the order of the download


class Status(StrEnum):
    """The result of an image's download."""

    SUCCESS = "success"
    GONE = "gone"  # the server does not have it, or denies it
    NO_IMAGE = "no picture"  # the server sent something else
    NOT_NOW = "not now"  # a later run may succeed


Outcomes = Mapping[str, tuple[Status, str]]  # by name, with the error message


def add_shard(table: pa.Table, folder: Path) -> None:
    """Write a table as the folder's next numbered Parquet file, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [int(path.stem.rpartition("-")[2]) for path in find_all(folder, "*.parquet")]
    num_rows = max(1, table.num_rows * GROUP_BYTES // max(GROUP_BYTES, table.nbytes))
    with replacing(folder / f"{max(numbers, default=-1) + 1:05}.parquet") as temporary:
        # Neither compression nor a dictionary makes JPEGs smaller.
        pq.write_table(table, temporary, num_rows, compression="none", use_dictionary=False, write_page_checksum=True)


class FetchedImages:
    """Downloaded images by name; a few row groups are in memory."""

    def __init__(self, folder: Path) -> None:
        """Index the shards in `folder`, which need not exist; ArchiveError for a damaged shard."""
        self.where = f"in folder {folder.name}"
        self._paths = find_all(folder, "*.parquet")
        self._index: dict[str, tuple[int, int, int]] = {}  # shard, row group and row
        self._read_group = lru_cache(NUM_OPEN_GROUPS)(self._read_group_again)
        for shard, path in enumerate(self._paths):
            for number, group in enumerate(_read_groups(path, ["name", "status"])):
                for row, found in enumerate(group.to_pylist()):
                    if found["status"] == Status.SUCCESS:
                        self._index[found["name"]] = shard, number, row

    def find(self, name: str) -> Image | None:
        """The image of that name, or None; ArchiveError if its shard is damaged."""
        if name not in self._index:
            return None
        shard, number, row = self._index[name]
        return Image(name, data=self._read_group(shard, number)["picture"][row].as_py())

    def _read_group_again(self, shard: int, number: int) -> pa.Table:
        path = self._paths[shard]
        with _damage_as_error(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read_row_group(number, columns=["picture"])


def read_outcomes(folder: Path) -> Outcomes:
    """The status of each name; ArchiveError for a damaged shard."""
    outcomes: dict[str, tuple[Status, str]] = {}
    for path in find_all(folder, "*.parquet"):
        for group in _read_groups(path, ["name", "status", "error_message"]):
            for row in group.to_pylist():
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
        raise ArchiveError(f"{path}: not a whole shard; remove it and run the download again") from None
