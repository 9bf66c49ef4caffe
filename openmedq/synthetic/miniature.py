"""Stage `miniature`: write a small generated dataset in its published layout."""

from openmedq import paths, synthetic
from openmedq.config import Params
from openmedq.datasets.card import Dataset
from openmedq.storage.publish import publish


def run(params: Params, dataset: Dataset) -> None:
    """Write data/miniature/<id>."""
    with publish(paths.MINIATURE / dataset.card.id) as folder:
        folder.mkdir()
        synthetic.write(dataset.card.id, folder, params.miniature.seed)
