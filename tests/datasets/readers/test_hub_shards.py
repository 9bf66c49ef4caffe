from pathlib import Path
from typing import Any

import pytest

from openmedq.datasets.fields import Unusable
from openmedq.datasets.readers.hub_shards import find_shards, take_image
from openmedq.errors import SourceError
from openmedq.schema import Reason

SPLITS = ("train", "validation", "test")


def found(*names: str) -> dict[str, list[str]]:
    shards = find_shards([Path("raw") / name for name in names], SPLITS)
    return {split: [path.relative_to("raw").as_posix() for path in paths] for split, paths in shards.items()}


def test_shards_come_by_split_and_in_order() -> None:
    names = ["data/train-00001-of-00002-ab.parquet", "data/train-00000-of-00002-ff.parquet", "data/validation.parquet"]
    assert found(*names, "data/README.md", "data/other.parquet", "0.parquet", "data/train.csv") == {
        "train": [names[1], names[0]],
        "validation": [names[2]],
    }


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


def test_of_two_copies_one_is_read_and_the_other_named(caplog: pytest.LogCaptureFixture) -> None:
    names = ["data/train-00000-of-00001-ab.parquet", "data/old/train-00000-of-00001-ab.parquet"]
    assert found(*names) == {"train": names[:1]}
    assert [message.replace("\\", "/") for message in caplog.messages] == [
        "raw/data/old: not read: another copy of the split train is used"
    ]


@pytest.mark.parametrize("other", ["train-00000-of-00002-ff", "train-00000-of-00003", "train"])
def test_two_editions_in_one_folder_are_one_line(other: str) -> None:
    with pytest.raises(SourceError, match=r"raw/data: two editions of the split train in one folder; remove one"):
        found("data/train-00000-of-00002-ab.parquet", "data/train-00001-of-00002-ab.parquet", f"data/{other}.parquet")


def test_a_lacking_shard_is_said(caplog: pytest.LogCaptureFixture) -> None:
    assert found("train-00000-of-00002.parquet", "train-00001-of-00002.parquet")
    assert not caplog.messages
    assert found("train-00001-of-00002.parquet")
    assert caplog.messages == ["raw: only 1 of the 00002 files of the split train are present"]


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


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.FIELD_MISSING),
        ({}, Reason.FIELD_MISSING),
        ({"bytes": b"", "path": None}, Reason.FIELD_MISSING),
        ({"bytes": None, "path": "a.jpg"}, Reason.IMAGE_MISSING),
        ({"bytes": b"", "path": "a.jpg"}, Reason.IMAGE_MISSING),
        ("a.jpg", Reason.FIELD_MISSING),
        (7, Reason.FIELD_MISSING),
    ],
)
def test_no_bytes_are_no_picture(value: Any, reason: Reason) -> None:
    with pytest.raises(Unusable) as caught:
        take_image({"image": value}, "image")
    assert caught.value.reason is reason
