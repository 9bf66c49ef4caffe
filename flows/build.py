"""The flow `build`: the data, up to their validation. Command: `python -m flows.build`."""

import sys
from pathlib import Path

from prefect import flow

from flows.graph import ancestors, nodes
from flows.walk import name_run, run_by_hand, walk

LAST_STAGE = "validate"


@flow(flow_run_name=name_run)
def build(targets: list[str] | None = None, max_workers: int = 2) -> None:
    """Reproduce the targets (nodes or stages) and the nodes that they depend on; default: the validated data."""
    root = Path.cwd()
    walk(root, ancestors(nodes(root), targets or [LAST_STAGE]), max_workers)


if __name__ == "__main__":
    sys.exit(run_by_hand(build))
