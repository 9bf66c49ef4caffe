"""The flow `learn`: all nodes that `build` does not run. Command: `python -m flows.learn`."""

import sys
from pathlib import Path

from prefect import flow

from flows.build import LAST_STAGE
from flows.graph import ancestors, list_changed, nodes
from flows.walk import name_run, run_by_hand, walk
from openmedq.errors import StaleError


@flow(flow_run_name=name_run)
def learn(targets: list[str] | None = None, max_workers: int = 2) -> None:
    """Train, evaluate, transfer and report: the targets and the nodes that they depend on; default: all four.

    Raises:
        StaleError: the data are not up to date; the flow `build` makes them.
    """
    root = Path.cwd()
    graph = nodes(root)
    built = ancestors(graph, [LAST_STAGE])
    wanted = ancestors(graph, targets or [node.name for node in graph if node not in built])
    data = [node.name for node in wanted if node in built]
    changed = list_changed(root, data)
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise StaleError(f"{changed[0]}{more}: not up to date; run `python -m flows.build` first")
    walk(root, [node for node in wanted if node not in built], max_workers)


if __name__ == "__main__":
    sys.exit(run_by_hand(learn))
