"""Shards: what is written comes back, in any process and in any order, and Hugging Face shows the pictures."""

import io
import multiprocessing
import os
import pickle
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.config import Normalize
from openmedq.schema import (
    REJECTED_SCHEMA,
    SAMPLE_SCHEMA,
    Groups,
    Image,
    Provenance,
    Reason,
    Rejected,
    Role,
    Sample,
    Task,
    Turn,
)
from openmedq.storage import shards
from openmedq.storage.images import encode
from openmedq.storage.records import Row
from openmedq.storage.shards import ShardStore

DIALS = Normalize(row_group_size_bytes=3_000, row_group_rows=7, shard_size_bytes=12_000)


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
        images=tuple(Image(f"{number}-{place}", data=b"published") for place in range(num_images)),
        groups=Groups(patient="p", article=None, case=str(number)),
        labels=("a", "b"),
        attributes={"organ": "chest", "answer_type": "open"},
    )


def _row(number: int, num_images: int = 1) -> Row:
    pictures = []
    for place in range(num_images):
        buffer = io.BytesIO()
        noise = np.random.default_rng([number, place]).integers(0, 256, (24, 24), np.uint8)
        PIL.Image.fromarray(noise).save(buffer, "PNG")
        pictures.append(encode(buffer.getvalue(), DIALS))
    return Row(_sample(number, num_images), Role.TRAIN, tuple(pictures))


def _index(folder: Path) -> pa.Table:
    """All rows of a set's folder, as `mix` indexes them."""
    rows = []
    for shard in shards.find_shards(folder):
        metadata = pq.read_metadata(shard)
        for group in range(metadata.num_row_groups):
            for row in range(metadata.row_group(group).num_rows):
                rows.append({"source": folder.name, "shard": shard.name, "row_group": group, "row": row})
    return pa.Table.from_pylist(rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "toy").mkdir()
    return tmp_path / "toy"


def test_rows_come_back_in_order_and_at_random(folder: Path) -> None:
    written = [_row(number, num_images=number % 3) for number in range(60)]
    assert ShardStore(folder).write(written, DIALS) == 60
    found = shards.find_shards(folder)
    assert [path.name for path in found] == [f"shard-{number:05}.parquet" for number in range(len(found))]
    assert len(found) > 2
    assert ShardStore(folder).read(["id"])["id"].to_pylist() == [row.sample.id for row in written]

    samples = ShardStore(folder.parent).take(_index(folder))
    assert len(samples) == 60
    for place in np.random.default_rng(0).permutation(60):
        sample, row = samples[int(place)], written[place]
        assert [image.data for image in sample.images] == [picture.data for picture in row.pictures]
        assert [image.image_id for image in sample.images] == [image.image_id for image in row.sample.images]
        images = tuple(Image(image.image_id, data=b"published") for image in sample.images)
        assert Sample(**{**_fields(sample), "images": images}) == row.sample
    assert samples[-1] == samples[59]
    assert [sample.id for sample in samples[3:5]] == ["toy/3", "toy/4"]
    with pytest.raises(IndexError):
        samples[60]


def _fields(sample: Sample) -> dict[str, object]:
    return {name: getattr(sample, name) for name in sample.__slots__}


def test_an_index_of_several_sets_is_read(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        ShardStore(tmp_path / name).write([_row(number) for number in range(10)], DIALS)
    index = pa.concat_tables([_index(tmp_path / "two"), _index(tmp_path / "one")]).take([15, 0, 3])
    samples = ShardStore(tmp_path).take(index)
    assert [sample.id for sample in samples] == ["toy/5", "toy/0", "toy/3"]
    assert len(ShardStore(tmp_path).take(index.slice(0, 0))) == 0


def test_pictures_are_left_out_where_nobody_looks_at_them(folder: Path) -> None:
    ShardStore(folder).write([_row(1, num_images=2)], DIALS)
    sample = ShardStore(folder.parent).take(_index(folder), with_pictures=False)[0]
    assert sample.images == (Image("1-0"), Image("1-1"))


def test_row_groups_and_shards_keep_their_sizes(folder: Path) -> None:
    ShardStore(folder).write([_row(number, num_images=number % 2) for number in range(60)], DIALS)
    for shard in shards.find_shards(folder):
        metadata = pq.read_metadata(shard)
        assert metadata.row_group(0).column(0).has_offset_index
        assert {metadata.row_group(0).column(each).compression for each in range(metadata.num_columns)} == {"ZSTD"}
        for group in range(metadata.num_row_groups):
            assert metadata.row_group(group).num_rows <= DIALS.row_group_rows
        table = pq.read_table(shard, columns=["images"], page_checksum_verification=True)
        size_bytes = sum(len(image["bytes"]) for images in table["images"].to_pylist() for image in images)
        assert size_bytes <= DIALS.shard_size_bytes + 2 * DIALS.row_group_size_bytes
    first = pq.read_metadata(shards.find_shards(folder)[0])
    assert first.num_row_groups > 1


def test_a_picture_that_neighbors_share_is_stored_once(folder: Path) -> None:
    picture = _row(0).pictures[0]
    two = [replace(picture, data=np.random.default_rng(seed).bytes(900_000)) for seed in range(2)]
    rows = [Row(_sample(number), Role.TRAIN, (two[number % 2],)) for number in range(8)]
    ShardStore(folder).write(rows, Normalize(row_group_size_bytes=8 * 900_000))
    assert 1_800_000 < shards.find_shards(folder)[0].stat().st_size < 1_900_000


def test_a_flipped_bit_is_noticed(folder: Path) -> None:
    data = np.random.default_rng(0).bytes(90_000)  # can't be compressed, so that it stands in the file as it is
    ShardStore(folder).write([Row(_sample(0), Role.TRAIN, (replace(_row(0).pictures[0], data=data),))], DIALS)
    shard = folder / "shard-00000.parquet"
    whole = bytearray(shard.read_bytes())
    whole[whole.index(data[1000:1100])] ^= 1
    shard.write_bytes(whole)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(shard, page_checksum_verification=True)


def test_the_schema_is_the_schema(folder: Path) -> None:
    ShardStore(folder).write([_row(0)], DIALS)
    schema = pq.read_schema(folder / "shard-00000.parquet")
    assert schema.equals(SAMPLE_SCHEMA)
    assert schema.metadata == SAMPLE_SCHEMA.metadata


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        ShardStore(tmp_path / name).write([_row(number) for number in range(30)], DIALS)
    for one, two in zip(shards.find_shards(tmp_path / "a"), shards.find_shards(tmp_path / "b"), strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_no_rows_are_no_shards(folder: Path) -> None:
    assert ShardStore(folder).write([], DIALS) == 0
    assert shards.find_shards(folder) == []
    assert ShardStore(folder).read(["id", "pictures.list.element.phash"]).num_rows == 0


def test_nested_columns_are_read_alone(folder: Path) -> None:
    ShardStore(folder).write([_row(number) for number in range(3)], DIALS)
    table = ShardStore(folder).read(["pictures.list.element.phash"])
    assert table.to_pylist()[1] == {"pictures": [{"phash": _row(1).pictures[0].phash}]}


def _read_ids(samples: "shards._Samples", places: list[int], queue: "multiprocessing.Queue[list[str]]") -> None:
    ids = [samples[place].id for place in places]
    queue.put(ids if samples._process_id == os.getpid() else ["read through the parent's files"])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_by_themselves(folder: Path, method: str) -> None:
    ShardStore(folder).write([_row(number) for number in range(40)], DIALS)
    samples = ShardStore(folder.parent).take(_index(folder))
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
    ShardStore(folder).write([_row(number) for number in range(40)], DIALS)
    samples = ShardStore(folder.parent).take(_index(folder))
    size_bytes = len(pickle.dumps(samples))
    list(samples)
    assert len(pickle.dumps(samples)) == size_bytes < 3_000


def test_memory_stays_flat(folder: Path) -> None:
    row = _row(0)

    def endless(num_rows: int) -> Iterator[Row]:
        for number in range(num_rows):
            yield Row(_sample(number), Role.TRAIN, row.pictures)

    tracemalloc.start()
    ShardStore(folder).write(endless(3000), DIALS)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 1_000_000  # all records at once are 10 MB


def test_hugging_face_shows_the_pictures(folder: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    ShardStore(folder).write([_row(number, num_images=number % 3) for number in range(12)], DIALS)
    files = [str(shard) for shard in shards.find_shards(folder)]
    dataset = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert dataset[0]["images"] == []
    shown = dataset[2]["images"]
    assert all(isinstance(image, PIL.Image.Image) for image in shown)
    stored = [PIL.Image.open(io.BytesIO(picture.data)) for picture in _row(2, 2).pictures]
    assert [image.tobytes() for image in shown] == [image.tobytes() for image in stored]
    assert dataset[2]["turns"][0]["options"] == ["yes", "no"]
    assert dataset[2]["pictures"][0]["phash"] == _row(2, 2).pictures[0].phash


def test_rejected_rows_are_written_down(folder: Path) -> None:
    with shards.write_rejected(folder) as rejected:
        pass
    assert shards.count_rejected(folder) == 0
    assert pq.read_schema(folder / shards.REJECTED).equals(REJECTED_SCHEMA)
    with shards.write_rejected(folder) as rejected:
        rejected.GROUP_ROWS = 2  # type: ignore[misc]
        for number in range(5):
            provenance = Provenance("a.json", str(number))
            rejected.add(Rejected(f"toy/{number}\ud800", "toy", "", Reason.NOT_UTF8, "field `x`", provenance))
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
    changed = {"turns": tuple(turns), "groups": groups, "labels": tuple(labels), "attributes": attributes, "images": ()}
    sample = Sample(**{**_fields(_sample(0)), **changed})
    ShardStore(folder).write([Row(sample, Role.TRAIN, ())], DIALS)
    assert ShardStore(folder.parent).take(_index(folder))[0] == sample
