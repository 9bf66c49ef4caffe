"""The 14 sources of the pretraining mix and the 8 classification benchmarks.

`DATASETS`, `SOURCES` and `BENCHMARKS` map an id to a dataset: `.card` describes it, `.read(raw)` streams its records.
They import all dataset modules on first use; `registry.load(id)` imports one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openmedq.datasets.card import Dataset

    DATASETS: dict[str, Dataset]
    SOURCES: dict[str, Dataset]
    BENCHMARKS: dict[str, Dataset]


def __getattr__(name: str) -> dict[str, Dataset]:
    if name not in ("DATASETS", "SOURCES", "BENCHMARKS"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from openmedq.datasets import registry

    found = {dataset_id: registry.load(dataset_id) for dataset_id in registry.MODULES}
    globals()["DATASETS"] = found
    globals()["SOURCES"] = {key: dataset for key, dataset in found.items() if dataset.card.kind == "source"}
    globals()["BENCHMARKS"] = {key: dataset for key, dataset in found.items() if dataset.card.kind == "benchmark"}
    return globals()[name]  # type: ignore[no-any-return]
