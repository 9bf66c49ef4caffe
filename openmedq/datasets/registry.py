"""The datasets by id. A dataset's module is imported on first use."""

import importlib
from pathlib import Path
from typing import cast

from openmedq.datasets.card import Card, Dataset
from openmedq.errors import SourceError

MODULES = {  # id -> module below openmedq.datasets
    # Sources of the pretraining mix.
    "iu_xray": "iu_xray.iu_xray",
    "medmcqa": "medmcqa",
    "medqa": "medqa",
    "mimic_cxr": "mimic_cxr.mimic_cxr",
    "omnimedvqa": "omnimedvqa",
    "pathvqa": "pathvqa",
    "pmc_oa": "pmc_oa",
    "pmc_vqa": "pmc_vqa",
    "pubmedqa": "pubmedqa",
    "roco": "roco.roco",
    "slake": "slake",
    "ubench": "ubench",
    "vqa_med_2019": "vqa_med_2019",
    "vqa_rad": "vqa_rad",
    # Benchmarks: classification datasets that evaluate the image encoder and never train.
    "blood_mnist": "medmnist.blood_mnist",
    "breast_ultrasound": "breast_ultrasound",
    "cxr8": "cxr8",
    "medfmc_chest": "medfmc.chest",
    "medfmc_colon": "medfmc.colon",
    "medfmc_endo": "medfmc.endo",
    "pneumonia_mnist": "medmnist.pneumonia_mnist",
    "retina_mnist": "medmnist.retina_mnist",
}


LOCAL = "openmedq.datasets.local.local"  # reads the datasets that params.yaml declares


def load(dataset_id: str) -> Dataset:
    """Import one dataset's module, or take a local dataset of the catalogue.

    SourceError if the id is unknown or the module lacks `card` or `read`.
    """
    if dataset_id not in MODULES:
        # Found by its name, so that the stages that read no files do not depend on it.
        if local := importlib.import_module(LOCAL).load(dataset_id):
            return cast(Dataset, local)
        raise SourceError(f"{dataset_id}: no such dataset; there are {', '.join(sorted(MODULES))}")
    module = importlib.import_module(f"openmedq.datasets.{MODULES[dataset_id]}")
    card = getattr(module, "card", None)
    if not isinstance(card, Card) or card.id != dataset_id or not hasattr(module, "read"):
        raise SourceError(f"{module.__name__}: needs `read` and a `card` with id {dataset_id!r}")
    return cast(Dataset, module)


def dependency(dataset_id: str) -> str:
    """Return the path of the code that only this dataset or its family uses: its module, or the family's folder."""
    folder, *modules = MODULES.get(dataset_id, "local.local").split(".")
    return Path("openmedq", "datasets", folder if modules else f"{folder}.py").as_posix()
