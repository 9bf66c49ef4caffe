"""PathVQA: the Parquet files of the hub."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.datasets import pathvqa
from openmedq.datasets.pathvqa import read
from openmedq.datasets.readers.hub_shards import image_schema
from openmedq.schema import Reason
from tests.datasets.conftest import FolderOf, all_samples

SHARD = "data/train-00000-of-00001-0123456789abcdef.parquet"
ROW = {"image": {"bytes": b"no image", "path": "train_0001.jpg"}, "question": " is it so? ", "answer": "Yes "}


def write(raw: Path, rows: list[dict[str, Any]]) -> Path:
    (raw / SHARD).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, image_schema("question", "answer")), raw / SHARD)
    return raw


def test_a_row_is_kept_whole(tmp_path: Path) -> None:
    (row,) = all_samples(read(write(tmp_path, [ROW])))
    assert (row.id, row.split) == ("pathvqa/train-1", "train")
    assert (row.provenance.file, row.provenance.record) == (SHARD, "row 1")
    assert (row.turns[0].question, row.turns[0].answer) == ("is it so?", "Yes")
    assert row.images[0].data == b"no image"
    assert row.images[0].image_id == hashlib.sha256(b"no image").hexdigest()[:16]
    assert row.attributes == {"answer_type": "closed", "image_path": "train_0001.jpg"}
    assert "publishers" in row.licence


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image": None}, Reason.FIELD_MISSING),
        ({"question": " "}, Reason.QUESTION_EMPTY),
        ({"answer": ""}, Reason.ANSWER_EMPTY),
        ({"image": {"bytes": None, "path": "train_0001.jpg"}}, Reason.IMAGE_MISSING),
    ],
)
def test_an_unusable_row_is_rejected(tmp_path: Path, changes: dict[str, Any], reason: Reason) -> None:
    row, _ = read(write(tmp_path, [ROW | changes, ROW]))
    assert (row.reason, row.id, row.split) == (reason, "pathvqa/train-1", "train")


def test_shards_are_read_in_order_and_numbered_consecutively(miniature_of: FolderOf) -> None:
    rows = all_samples(read(miniature_of("pathvqa")))
    assert [row.id for row in rows if row.split == "test"] == [f"pathvqa/test-{n}" for n in range(1, 43)]
    assert [row.split for row in rows] == ["train"] * 85 + ["validation"] * 18 + ["test"] * 42
    files = list(dict.fromkeys(row.provenance.file for row in rows))
    assert files == [file.path for file in pathvqa.card.files]
