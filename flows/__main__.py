"""The flow `pipeline`: the whole graph. Command: `python -m flows`."""

import sys
from pathlib import Path

from prefect import flow

from flows.graph import ancestors, nodes
from flows.walk import name_run, run_by_hand, walk


@flow(flow_run_name=name_run)
def pipeline(targets: list[str] | None = None, max_workers: int = 2) -> None:
    """Reproduce the targets (nodes or stages) and the nodes that they depend on; default: the whole graph."""
    root = Path.cwd()
    graph = nodes(root)
    walk(root, ancestors(graph, targets) if targets else graph, max_workers)


if __name__ == "__main__":
    sys.exit(run_by_hand(pipeline))
