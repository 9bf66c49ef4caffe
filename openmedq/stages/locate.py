"""`locate`: the mirror that params name is there and holds a set, said before DVC hashes it in words of its own."""

from __future__ import annotations

from pathlib import Path

from openmedq import layout
from openmedq.cards import catalogue
from openmedq.io.publish import publish
from openmedq.mirror import is_miniature, match_folders
from openmedq.params import Params


def run(params: Params) -> None:
    """Write down the mirror's name; MirrorError where it is missing or holds no set. Miniatures come in good time."""
    mirror = Path(params.download.mirror)
    if not is_miniature(mirror):
        match_folders(mirror, catalogue.read(layout.CATALOGUE), may_be_empty=params.download.fetch)
    with publish(layout.MIRROR) as path:
        path.write_text(f"{mirror}\n", encoding="utf-8")
