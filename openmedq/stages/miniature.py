"""`miniature`: a small generated set in its own published layout, quirks included."""

from __future__ import annotations

from openmedq import discovery, layout
from openmedq.cards import catalogue
from openmedq.io.publish import publish
from openmedq.params import Params


def run(params: Params, set_id: str) -> None:
    """Write the set's miniature."""
    set_ = discovery.find(set_id)
    catalogue.check(layout.CATALOGUE, set_.card)
    with publish(layout.MINIATURE / set_id) as folder:
        folder.mkdir()
        set_.miniature(folder, seed=params.miniature.seed)
