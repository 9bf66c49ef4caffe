"""The flow `learn`: everything after the verdict. Run by hand: `python -m flows.learn`."""

from __future__ import annotations

import sys
from pathlib import Path

from prefect import flow

from flows.build import VERDICT
from flows.graph import ancestors, descendants, list_changed, nodes
from flows.walk import run_by_hand, walk
from openmedq.errors import StaleError


@flow
def learn(targets: list[str] | None = None, max_workers: int = 2) -> None:
    """Train, evaluate, transfer and report: the targets with what they need, all unless given.

    StaleError where the data or their verdict are not up to date: that is what `build` is for.
    """
    root = Path.cwd()
    graph = nodes(root)
    after_verdict = descendants(graph, [VERDICT])
    selected = [node for node in ancestors(graph, targets) if node in after_verdict] if targets else after_verdict
    built = [node.name for node in ancestors(graph, [node.name for node in selected]) if node not in after_verdict]
    changed = list_changed(root, built)
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise StaleError(f"{changed[0]}{more}: not up to date; run `python -m flows.build` first")
    walk(root, selected, max_workers)


if __name__ == "__main__":
    sys.exit(run_by_hand(learn))
