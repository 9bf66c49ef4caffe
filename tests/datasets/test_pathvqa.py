"""The hub's Parquet files of questions on images: PathVQA, and the copies of VQA-RAD and SLAKE."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.datasets import pathvqa
from openmedq.datasets.pathvqa import read
from openmedq.errors import SourceError
from openmedq.synthetic.pathvqa import SCHEMA
from tests.datasets import faults
from tests.datasets.conftest import SETS, FolderOf, all_samples, samples


@pytest.mark.parametrize("dataset_id", ["slake", "vqa_rad"])
def test_the_copy_of_the_hub_is_read_if_there_is_no_other(dataset_id: str, copy_of: FolderOf) -> None:
    raw = copy_of(dataset_id)
    published = samples(SETS[dataset_id].read(raw))
    shards = raw / "copy/data"
    shards.mkdir(parents=True)
    for split in ("train", "test"):
        rows = [(row.turns[0], row.images[0]) for row in published if row.split == split][:2]
        records = [
            {
                "image": {"bytes": image.data or image.path.read_bytes(), "path": None},
                "question": turn.question,
                "answer": turn.answer,
            }
            for turn, image in rows
        ]
        pq.write_table(
            pa.Table.from_pylist(records, SCHEMA), shards / f"{split}-00000-of-00001-eb8844602202be60.parquet"
        )
    assert samples(SETS[dataset_id].read(raw)) == published
    for path in faults.find_files(raw, ".json"):
        path.unlink()
    if dataset_id == "slake":  # the copy is English
        with pytest.raises(SourceError, match=r"no `train\.json`"):
            next(SETS[dataset_id].read(raw, languages=("zh",)))
    found = all_samples(SETS[dataset_id].read(raw))
    assert [row.id for row in found] == [f"{dataset_id}/{split}-{n}" for split in ("train", "test") for n in (1, 2)]
    assert found[0].turns[0] == published[0].turns[0]
    assert {row.modality for row in found} == {row.modality for row in published}
    assert {row.attributes["answer_type"] for row in found} <= {"open", "closed"}


def test_a_row_keeps_its_number_or_is_not_read(copy_of: FolderOf, caplog: pytest.LogCaptureFixture) -> None:
    raw = copy_of("pathvqa")
    expected = [(row.id, row.turns) for row in all_samples(read(raw))]
    (last,) = raw.glob("data/train-00006*")
    assert not caplog.messages
    last.unlink()
    assert {(row.id, row.turns) for row in all_samples(read(raw))} < set(expected)
    assert caplog.messages == [f"{raw}/data: only 6 of the 7 files of the split train are present"]
    (third,) = raw.glob("data/train-00002*")
    third.unlink()
    with pytest.raises(SourceError, match=r"lacks file 00002 of the split train, so that the rows of train-00003-of-0"):
        list(read(raw))


def test_shards_are_read_in_order_and_numbered_consecutively(miniature_of: FolderOf) -> None:
    rows = all_samples(read(miniature_of("pathvqa")))
    assert [row.id for row in rows if row.split == "test"] == [f"pathvqa/test-{n}" for n in range(1, 43)]
    assert [row.split for row in rows] == ["train"] * 85 + ["validation"] * 18 + ["test"] * 42
    files = list(dict.fromkeys(row.provenance.file for row in rows))
    assert files == [file.path for file in pathvqa.card.files]
