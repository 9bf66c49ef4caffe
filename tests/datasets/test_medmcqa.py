import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.datasets.medmcqa import read
from openmedq.errors import SourceError
from openmedq.model.prompt import respond
from openmedq.schema import Task
from tests.datasets.conftest import FolderOf, samples
from tests.datasets.records import TABLES


def test_a_shard_that_counts_from_1_is_refused_whole(copy_of: FolderOf) -> None:
    raw = copy_of("medmcqa")
    path = raw / TABLES["medmcqa"]
    rows = pq.read_table(path)
    many = pa.concat_tables([rows] * 3).slice(0, 200)

    def read_with(table: pa.Table, cop: pa.Array) -> int:
        place = table.column_names.index("cop")
        ids = pa.array([str(number) for number in range(len(table))])
        pq.write_table(table.set_column(place, "cop", cop).set_column(0, "id", ids), path)
        return sum(row.split == "train" for row in read(raw))

    numbers = np.arange(200)
    for table, cop in ((rows, numbers[:80] % 5), (many, 1 + numbers % 3)):
        with pytest.raises(SourceError, match=r"train-.*\.parquet: `cop` counts from 1"):
            read_with(table, pa.array(cop))
    assert read_with(many, pa.array(numbers % 4)) == 200
    assert read_with(many, pa.array(numbers * 0 - 1)) == 200  # withheld
    with pytest.raises(SourceError, match="column `cop` is not an integer but string"):
        read_with(rows, pa.array(["b"] * 80))


def test_equal_options_are_kept(miniature_of: FolderOf) -> None:
    rows = [
        row
        for row in samples(read(miniature_of("medmcqa")))
        if len(set(row.turns[0].options)) < len(row.turns[0].options)
    ]
    assert len(rows) == 4
    twice = [row.turns[0] for row in rows if row.turns[0].options.count(row.turns[0].answer) == 2]
    assert len(twice) == 2
    for turn in twice:  # the prompt names the first
        assert respond(Task.MULTIPLE_CHOICE, turn) == f"{'ABCD'[turn.options.index(turn.answer)]}. {turn.answer}"
