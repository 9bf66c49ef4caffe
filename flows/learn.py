"""The flow `learn`: everything after the validation of the data. Command: `python -m flows.learn`."""

from __future__ import annotations

import sys
from pathlib import Path

from prefect import flow

from flows.build import LAST_STAGE
from flows.graph import ancestors, descendants, list_changed, nodes
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
    learning = descendants(graph, [LAST_STAGE])
    selected = [node for node in ancestors(graph, targets) if node in learning] if targets else learning
    data = [node.name for node in ancestors(graph, [node.name for node in selected]) if node not in learning]
    changed = list_changed(root, data)
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise StaleError(f"{changed[0]}{more}: not up to date; run `python -m flows.build` first")
    walk(root, selected, max_workers)


if __name__ == "__main__":
    sys.exit(run_by_hand(learn))
