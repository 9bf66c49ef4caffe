"""The licence policy excludes rows whose licence is not stated."""

from pathlib import Path

import pyarrow as pa

from openmedq.curate.datasets import NormalizedDataset
from openmedq.datasets.licences import UNKNOWN
from openmedq.storage.shards import ShardStore


def test_a_row_without_a_licence_is_excluded_by_any_stricter_policy() -> None:
    licences = pa.array(["CC-BY-4.0", None, ""], pa.string())
    dataset = NormalizedDataset("toy", "source", "open", {}, {}, ShardStore(Path()))
    assert dataset.find_exclusions(licences, "research").to_pylist() == [None, UNKNOWN, UNKNOWN]
    assert dataset.find_exclusions(licences, "any").to_pylist() == [None] * 3
