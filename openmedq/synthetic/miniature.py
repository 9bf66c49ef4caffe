"""`miniature`: a small generated set in its own published layout, quirks included."""

from __future__ import annotations

from openmedq import paths
from openmedq.config import Params
from openmedq.datasets import catalogue, registry
from openmedq.storage.publish import publish


def run(params: Params, set_id: str) -> None:
    """Write the set's miniature."""
    set_ = registry.find(set_id)
    catalogue.check(paths.CATALOGUE, set_.card)
    with publish(paths.MINIATURE / set_id) as folder:
        folder.mkdir()
        set_.miniature(folder, seed=params.miniature.seed)
