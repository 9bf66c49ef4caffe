from pathlib import Path
from typing import Any

import pytest

from openmedq.datasets.readers.hub_shards import find_shards, take_image
from openmedq.errors import SourceError

SPLITS = ("train", "validation", "test")


def found(*names: str) -> dict[str, list[str]]:
    shards = find_shards([Path("raw") / name for name in names], SPLITS)
    return {split: [path.relative_to("raw").as_posix() for path in paths] for split, paths in shards.items()}


@pytest.mark.parametrize(
    "names",
    [
        ("train-00000-of-00001.parquet", "test-00000-of-00001.parquet"),
        ("a/b/data/train-00000-of-00001.parquet", "a/b/data/test-00000-of-00001.parquet"),
        ("train/train-00000-of-00001.parquet", "test/test-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("a/train-00000-of-00001.parquet", "b/test-00000-of-00001.parquet"),
    ],
)
def test_they_may_lie_where_an_archive_unpacks_them(names: tuple[str, str]) -> None:
    assert found(*names) == {"train": [names[0]], "test": [names[1]]}


@pytest.mark.parametrize("other", ["train-00000-of-00002-ff", "train-00000-of-00003", "train"])
def test_two_editions_in_one_folder_are_one_line(other: str) -> None:
    with pytest.raises(SourceError, match=r"raw/data: two editions of the split train in one folder; remove one"):
        found("data/train-00000-of-00002-ab.parquet", "data/train-00001-of-00002-ab.parquet", f"data/{other}.parquet")


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"bytes": b"pixels", "path": "a.jpg"}, "a.jpg"),
        ({"bytes": b"pixels", "path": None}, ""),
        ({"bytes": b"pixels"}, ""),
        (b"pixels", ""),
    ],
)
def test_a_picture_is_called_by_its_bytes(value: Any, path: str) -> None:
    picture, given = take_image({"image": value}, "image")
    assert (picture.data, given) == (b"pixels", path)
    assert picture.image_id == take_image({"image": b"pixels"}, "image")[0].image_id
    assert picture.image_id != take_image({"image": b"others"}, "image")[0].image_id
