"""The datasets of the pretraining mix: one module each, holding a card, `read` and `miniature`.

`SOURCES` is a dict of all of them, built when it is first asked for; a stage that works on one set
takes `load(id)` and imports that module alone.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from openmedq import discovery
from openmedq.cards import Set

if TYPE_CHECKING:
    SOURCES: dict[str, Set]


def load(source_id: str) -> Set:
    """One source by id; SourceError where there is none."""
    return discovery.load(sys.modules[__name__], source_id)


def __getattr__(name: str) -> dict[str, Set]:
    if name != "SOURCES":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()["SOURCES"] = discovery.load_all(sys.modules[__name__])
    return found
