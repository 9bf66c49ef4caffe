"""Shards: rows come back as written, in any process and any order, and Hugging Face `datasets` decodes the images."""

import io
import multiprocessing
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.config import Normalize
from openmedq.errors import StaleError
from openmedq.schema import (
    REJECTED_SCHEMA,
    EncodedImage,
    Groups,
    Image,
    Provenance,
    Reason,
    Rejected,
    Sample,
    Task,
    Turn,
)
from openmedq.storage import shards
from openmedq.storage.images import encode
from openmedq.storage.shards import ShardStore
from tests.memory import takes_less_than
from tests.storage.drawing import save

SETTINGS = Normalize(row_group_size_bytes=3_000, row_group_rows=7, shard_size_bytes=12_000)


def _sample(number: int, num_images: int = 1) -> Sample:
    return Sample(
        id=f"toy/{number}",
        source="toy",
        split="train",
        task=Task.VQA,
        modality="radiology",
        licence="CC0-1.0",
        provenance=Provenance("questions.json", f"record {number}"),
        turns=(
            Turn(f"Question {number}?", "yes", "context", ("yes", "no"), ("Yes.",)),
            Turn("", "é\n\0"),
        ),
        images=tuple(_encode(number, place) for place in range(num_images)),
        groups=Groups(patient="p", article=None, case=str(number)),
        labels=("a", "b"),
        attributes={"organ": "chest", "answer_type": "open"},
    )


def _encode(number: int, place: int = 0) -> EncodedImage:
    noise = np.random.default_rng([number, place]).integers(0, 256, (24, 24), np.uint8)
    return replace(encode(save(PIL.Image.fromarray(noise), "PNG"), SETTINGS), image_id=f"{number}-{place}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "toy").mkdir()
    return tmp_path / "toy"


def test_rows_come_back_in_order_and_at_random(folder: Path) -> None:
    written = [_sample(number, num_images=number % 3) for number in range(60)]
    assert ShardStore(folder).write(written, SETTINGS) == 60
    found = shards.find_shards(folder)
    assert [path.name for path in found] == [f"shard-{number:05}.parquet" for number in range(len(found))]
    assert len(found) > 2
    phashes = ShardStore(folder).read(["images.list.element.phash"]).to_pylist()[1]
    assert phashes == {"images": [{"phash": _encode(1).phash}]}
    assert ShardStore(folder).read(["id"])["id"].to_pylist() == [sample.id for sample in written]

    index = ShardStore(folder).locate()
    for with_images in (True, False):
        samples = ShardStore(folder.parent).take(index, with_images=with_images)
        assert len(samples) == 60
        for place in np.random.default_rng(0).permutation(60):
            expected = tuple(
                Image(image.image_id, data=image.data if with_images else None) for image in written[place].images
            )
            assert samples[int(place)] == replace(written[place], images=expected)
    assert samples[-1] == samples[59]
    assert [sample.id for sample in samples[3:5]] == ["toy/3", "toy/4"]
    with pytest.raises(IndexError):
        samples[60]


def test_a_row_that_a_shard_no_longer_has_is_an_error_and_no_end(folder: Path) -> None:
    ShardStore(folder).write([_sample(number, 0) for number in range(7)], SETTINGS)
    index = ShardStore(folder).locate()
    ShardStore(folder).write([_sample(number, 0) for number in range(6)], SETTINGS)
    store = ShardStore(folder.parent)
    for read in (store.take(index), store.scan_index(index, ["id"])):
        with pytest.raises(StaleError, match=r"shard-00000\.parquet: row group 0 has no row 6, which data/mix/index\."):
            list(read)


def test_row_groups_and_shards_keep_their_sizes(folder: Path) -> None:
    ShardStore(folder).write([_sample(number, num_images=number % 2) for number in range(60)], SETTINGS)
    for shard in shards.find_shards(folder):
        metadata = pq.read_metadata(shard)
        assert metadata.row_group(0).column(0).has_offset_index
        assert {metadata.row_group(0).column(each).compression for each in range(metadata.num_columns)} == {"ZSTD"}
        for group in range(metadata.num_row_groups):
            assert metadata.row_group(group).num_rows <= SETTINGS.row_group_rows
        table = pq.read_table(shard, columns=["images"], page_checksum_verification=True)
        size_bytes = sum(len(image["image"]["bytes"]) for images in table["images"].to_pylist() for image in images)
        assert size_bytes <= SETTINGS.shard_size_bytes + 2 * SETTINGS.row_group_size_bytes
    first = pq.read_metadata(shards.find_shards(folder)[0])
    assert first.num_row_groups > 1


def test_an_image_that_neighbors_share_is_stored_once(folder: Path) -> None:
    two = [replace(_encode(0), data=np.random.default_rng(seed).bytes(900_000)) for seed in range(2)]
    rows = [replace(_sample(number), images=(two[number % 2],)) for number in range(8)]
    ShardStore(folder).write(rows, Normalize(row_group_size_bytes=8 * 900_000))
    assert 1_800_000 < shards.find_shards(folder)[0].stat().st_size < 1_900_000


def test_no_rows_are_no_shards(folder: Path) -> None:
    assert ShardStore(folder).write([], SETTINGS) == 0
    assert shards.find_shards(folder) == []
    assert ShardStore(folder).read(["id", "images.list.element.phash"]).num_rows == 0


def _read_ids(samples: "shards._Samples", places: list[int], queue: "multiprocessing.Queue[list[str]]") -> None:
    ids = [samples[place].id for place in places]
    queue.put(ids if samples._process_id == os.getpid() else ["read through the parent's files"])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_by_themselves(folder: Path, method: str) -> None:
    ShardStore(folder).write([_sample(number) for number in range(40)], SETTINGS)
    samples = ShardStore(folder.parent).take(ShardStore(folder).locate())
    assert samples[0].id == "toy/0"  # opened here first
    context = multiprocessing.get_context(method)
    queue: multiprocessing.Queue[list[str]] = context.Queue()
    workers = [context.Process(target=_read_ids, args=(samples, [39, place, 0], queue)) for place in (1, 2)]
    for worker in workers:
        worker.start()
    assert samples[20].id == "toy/20"
    assert sorted(queue.get(timeout=60) for _ in workers) == [["toy/39", f"toy/{each}", "toy/0"] for each in (1, 2)]
    for worker in workers:
        worker.join()


def test_a_pickle_is_small(folder: Path) -> None:
    ShardStore(folder).write([_sample(number) for number in range(40)], SETTINGS)
    samples = ShardStore(folder.parent).take(ShardStore(folder).locate())
    size_bytes = len(pickle.dumps(samples))
    list(samples)
    assert len(pickle.dumps(samples)) == size_bytes < 3_000


def test_memory_stays_flat(folder: Path) -> None:
    images = _sample(0).images

    def endless(num_rows: int) -> Iterator[Sample]:
        for number in range(num_rows):
            yield replace(_sample(number, 0), images=images)

    # All records at once are 3 MB.
    assert takes_less_than(1_000_000, lambda: ShardStore(folder).write(endless(1000), SETTINGS))


def test_hugging_face_decodes_the_images(folder: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    ShardStore(folder).write([_sample(number, num_images=number % 3) for number in range(12)], SETTINGS)
    files = [str(shard) for shard in shards.find_shards(folder)]
    dataset = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert dataset[0]["images"] == []
    shown = dataset[2]["images"]
    stored = [PIL.Image.open(io.BytesIO(_encode(2, place).data)) for place in range(2)]
    assert [image["image"].tobytes() for image in shown] == [image.tobytes() for image in stored]
    assert dataset[2]["turns"][0]["options"] == ["yes", "no"]
    assert shown[0]["phash"] == _encode(2).phash


def test_rejected_records_are_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shards.write_rejected(folder):
        pass
    assert shards.count_rejected(folder) == 0
    assert pq.read_schema(folder / shards.REJECTED).equals(REJECTED_SCHEMA)
    monkeypatch.setattr(shards, "REJECTED_GROUP_ROWS", 2)
    with shards.write_rejected(folder) as reject:
        for number in range(5):
            provenance = Provenance("a.json", str(number))
            reject(Rejected(f"toy/{number}\ud800", "toy", "", Reason.NOT_UTF8, "field `x`", provenance))
    table = pq.read_table(folder / shards.REJECTED)
    assert shards.count_rejected(folder) == 5
    assert table.to_pylist()[4] == {
        "id": "toy/4\\ud800",
        "source": "toy",
        "split": "",
        "reason": "not UTF-8",
        "detail": "field `x`",
        "provenance": {"file": "a.json", "record": "4"},
    }


_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@settings(max_examples=50)
@given(
    st.lists(st.builds(Turn, _TEXT, _TEXT, _TEXT, st.lists(_TEXT).map(tuple), st.lists(_TEXT).map(tuple)), max_size=3),
    st.builds(Groups, st.none() | _TEXT, st.none() | _TEXT, st.none() | _TEXT),
    st.lists(_TEXT, max_size=3),
    st.dictionaries(_TEXT, _TEXT, max_size=3),
)
def test_any_text_survives(
    tmp_path_factory: pytest.TempPathFactory,
    turns: list[Turn],
    groups: Groups,
    labels: list[str],
    attributes: dict[str, str],
) -> None:
    folder = tmp_path_factory.mktemp("text") / "toy"
    folder.mkdir()
    sample = replace(_sample(0, 0), turns=tuple(turns), groups=groups, labels=tuple(labels), attributes=attributes)
    ShardStore(folder).write([sample], SETTINGS)
    assert ShardStore(folder.parent).take(ShardStore(folder).locate())[0] == sample
