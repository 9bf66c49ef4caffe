"""Generated miniatures of the datasets in their published layouts, one module per dataset, named by its id."""

import importlib
from pathlib import Path


def write(dataset_id: str, raw: Path, seed: int = 0) -> None:
    """Write the miniature of a dataset, with the irregularities of the published files; a seed determines its bytes."""
    importlib.import_module(f"{__name__}.{dataset_id}").write(raw, seed)
