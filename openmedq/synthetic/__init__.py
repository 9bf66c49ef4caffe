"""Generated miniatures of the datasets in their published layouts, one module per dataset, named by its id."""

import importlib
from pathlib import Path

from openmedq import paths
from openmedq.config import Params
from openmedq.datasets.card import Dataset
from openmedq.storage.publish import publish


def run(params: Params, dataset: Dataset) -> None:
    """Stage `miniature`: write data/miniature/<id>."""
    with publish(paths.MINIATURE / dataset.card.id) as folder:
        folder.mkdir()
        write(dataset.card.id, folder, params.miniature.seed)


def write(dataset_id: str, raw: Path, seed: int = 0) -> None:
    """Write the miniature of a dataset, with the irregularities of the published files; a seed determines its bytes."""
    importlib.import_module(f"{__name__}.{dataset_id}").write(raw, seed)
