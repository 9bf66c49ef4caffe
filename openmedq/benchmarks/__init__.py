"""The classification sets that the encoder is transferred to, one module each: a card, `read` and `miniature`.

None of them is ever trained on.

`BENCHMARKS` is a dict of all of them, built when it is first asked for; a stage that works on one set
takes `load(id)` and imports that module alone.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from openmedq import discovery
from openmedq.cards import Set

if TYPE_CHECKING:
    BENCHMARKS: dict[str, Set]


def load(benchmark_id: str) -> Set:
    """One benchmark by id; SourceError where there is none."""
    return discovery.load(sys.modules[__name__], benchmark_id)


def __getattr__(name: str) -> dict[str, Set]:
    if name != "BENCHMARKS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()["BENCHMARKS"] = discovery.load_all(sys.modules[__name__])
    return found
