"""`locate`: the mirror that params name is there and holds a set, said before DVC hashes it in words of its own."""

from __future__ import annotations

from pathlib import Path

from openmedq import paths
from openmedq.config import Params
from openmedq.datasets import catalogue
from openmedq.errors import ParamsError
from openmedq.fetch.mirror import is_miniature, match_folders
from openmedq.storage.publish import publish


def run(params: Params) -> None:
    """Write down the mirror's name; MirrorError where it is missing or holds no set. Miniatures come in good time.

    ParamsError where files are to be fetched and the mirror is the miniatures', which lack no set.
    """
    mirror = Path(params.download.mirror)
    if is_miniature(mirror):
        if params.download.fetch:
            raise ParamsError(
                f"download.fetch is true, but download.mirror is {mirror}, where each set is generated: nothing would "
                "be fetched; name a folder of your own as download.mirror (data/supplied, which may be empty)"
            )
    else:
        match_folders(mirror, catalogue.read(paths.CATALOGUE), may_be_empty=params.download.fetch)
    with publish(paths.MIRROR) as path:
        path.write_text(f"{mirror}\n", encoding="utf-8")
