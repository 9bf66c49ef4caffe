import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.errors import ArchiveError
from openmedq.storage import fetched
from openmedq.storage.fetched import SCHEMA, FetchedImages, Status, read_outcomes
from openmedq.storage.lookup import ImageLookup


def write(folder: Path, shard: str, rows: dict[str, bytes | Status], group_rows: int = 2) -> None:
    """Write a shard of images that were downloaded (bytes) or were not (their status)."""
    folder.mkdir(exist_ok=True)
    table = [
        {"name": name, "url": f"https://example.org/{name}", "status": Status.SUCCESS, "picture": data}
        | {"sha256": hashlib.sha256(data).hexdigest(), "error_message": None}
        if isinstance(data, bytes)
        else {"name": name, "url": "", "status": data, "error_message": "why", "sha256": None, "picture": None}
        for name, data in rows.items()
    ]
    pq.write_table(
        pa.Table.from_pylist(table, SCHEMA),
        folder / f"{shard}.parquet",
        row_group_size=group_rows,
        compression="none",
        write_page_checksum=True,
    )


def data_of(pictures: ImageLookup, name: str) -> bytes | None:
    image = pictures.find(name)
    assert image is None or (image.image_id, image.path) == (name, None)
    return image.data if image else None


def test_pictures_are_found_in_any_shard_and_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched, "NUM_OPEN_GROUPS", 2)
    rows: dict[str, bytes | Status] = {f"{number}.jpg": b"%d" % number for number in range(20)}
    write(tmp_path, "0000-00000", dict(list(rows.items())[:9]))
    write(tmp_path, "0000-00001", dict(list(rows.items())[9:]))
    pictures = FetchedImages(tmp_path)
    for name in [*rows, *reversed(rows), *sorted(rows)]:
        assert data_of(pictures, name) == rows[name]
    assert pictures._read_group.cache_info().currsize == 2
    assert data_of(pictures, "20.jpg") is None
    assert data_of(FetchedImages(tmp_path / "none"), "a") is None
    assert read_outcomes(tmp_path / "none") == {}


def test_only_what_came_is_a_picture_and_the_round_in_which_it_came_counts(tmp_path: Path) -> None:
    write(tmp_path, "0000-00000", {"a": Status.NOT_NOW, "b": Status.GONE, "c": b"c", "d": Status.NOT_NOW})
    write(tmp_path, "0001-00000", {"a": b"a", "d": Status.NO_IMAGE})
    write(tmp_path, "0002-00000", {"c": Status.NOT_NOW})
    pictures = FetchedImages(tmp_path)
    assert [data_of(pictures, name) for name in "abcd"] == [b"a", None, b"c", None]
    statuses = {name: status for name, (status, _) in read_outcomes(tmp_path).items()}
    assert statuses == {"a": Status.SUCCESS, "b": Status.GONE, "c": Status.SUCCESS, "d": Status.NO_IMAGE}


def test_bytes_that_changed_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "0000-00000", {"a": b"before" * 50, "b": b"other"}, group_rows=1)
    path = tmp_path / "0000-00000.parquet"
    path.write_bytes(path.read_bytes().replace(b"before" * 50, b"behind" * 50))
    pictures = FetchedImages(tmp_path)
    with pytest.raises(ArchiveError, match=r"0000-00000\.parquet: not a whole shard"):
        pictures.find("a")
    assert data_of(pictures, "b") == b"other"


def test_a_flipped_bit_of_a_name_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, "0000-00000", {"first.jpg": Status.GONE})
    path = tmp_path / "0000-00000.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:4] + data[4:].replace(b"first.jpg", b"girst.jpg", 1))
    with pytest.raises(ArchiveError, match="not a whole shard"):
        read_outcomes(tmp_path)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"<html></html>"])
def test_a_shard_that_is_not_whole_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "0000-00000.parquet").write_bytes(data)
    for read in (FetchedImages, read_outcomes):
        with pytest.raises(ArchiveError, match="not a whole shard"):
            read(tmp_path)
