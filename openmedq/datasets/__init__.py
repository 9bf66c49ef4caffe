"""The 14 sources of the pretraining mix and the 8 classification benchmarks.

`DATASETS` maps an id to a dataset: `.card` describes it, `.read(raw)` streams its records. It imports all dataset
modules on first use; `registry.load(id)` imports one.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openmedq.datasets.card import Dataset

    DATASETS: dict[str, Dataset]


@cache
def __getattr__(name: str) -> dict[str, Dataset]:
    if name != "DATASETS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from openmedq.datasets import registry

    return {dataset_id: registry.load(dataset_id) for dataset_id in registry.MODULES}
