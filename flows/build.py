"""The flow `build`: everything up to the verdict on the data. Run by hand: `python -m flows.build`."""

from __future__ import annotations

import sys
from pathlib import Path

from prefect import flow

from flows.graph import ancestors, nodes
from flows.walk import run_by_hand, walk

VERDICT = "validate"


@flow
def build(targets: list[str] | None = None, max_workers: int = 2) -> None:
    """Reproduce the data: the targets (nodes or stages) with all that they need, the verdict unless given."""
    root = Path.cwd()
    walk(root, ancestors(nodes(root), targets or [VERDICT]), max_workers)


if __name__ == "__main__":
    sys.exit(run_by_hand(build))
