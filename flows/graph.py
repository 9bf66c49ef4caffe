"""Read the nodes and edges of the pipeline from DVC."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from openmedq.errors import OpenMedQError, ParamsError

DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")  # the DVC of this environment


@dataclass(frozen=True)
class Node:
    """One DVC stage: `normalize@vqa_rad` is a node of the stage `normalize`."""

    name: str
    stage: str
    upstream: tuple[str, ...]


def nodes(root: Path) -> list[Node]:
    """Return all nodes in topological order, generation by generation, so that waiting nodes do not block workers."""
    try:
        with Repo(str(root)) as repo:
            graph = repo.index.graph  # edges from a stage to its dependencies
            names = {stage: _name(stage, root) for stage in graph}
            upstream = {names[stage]: tuple(sorted(names[other] for other in graph[stage])) for stage in graph}
    except DvcException as error:
        reason = " ".join(str(error).split())
        advice = "; `git checkout dvc.lock` restores it" if "dvc.lock" in reason else ""
        raise ParamsError(f"{root}: DVC can't read the pipeline: {reason}{advice}") from None
    ordered: list[str] = []
    sorter = TopologicalSorter(upstream)
    sorter.prepare()
    while sorter.is_active():
        generation = sorted(sorter.get_ready())
        ordered += generation
        sorter.done(*generation)
    return [Node(name, name.partition("@")[0], upstream[name]) for name in ordered]


def ancestors(graph: Sequence[Node], targets: Iterable[str]) -> list[Node]:
    """Return the targets (nodes or stages) and their dependencies, in order; ParamsError for an unknown target."""
    wanted = _find(graph, targets)
    for node in reversed(graph):
        if node.name in wanted:
            wanted.update(node.upstream)
    return [node for node in graph if node.name in wanted]


def list_changed(root: Path, names: Sequence[str]) -> list[str]:
    """Return the names of the nodes that DVC would run again."""
    if not names:
        return []
    command = [*DVC, "status", "--json", *names]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise OpenMedQError(
            f"dvc status: {(done.stderr.strip() or 'failed').splitlines()[-1]}; run `dvc status` to see why"
        )
    status: dict[str, Any] = json.loads(done.stdout)
    return sorted(status)


def _name(stage: Any, root: Path) -> str:
    """Return the name for `dvc repro` in the root; `stage.addressing` is relative to the current directory."""
    file = os.path.relpath(stage.path, root)
    name = getattr(stage, "name", None)
    if not name:
        return file
    return str(name) if file == "dvc.yaml" else f"{file}:{name}"


def _find(graph: Sequence[Node], targets: Iterable[str]) -> set[str]:
    names: set[str] = set()
    for target in targets:
        found = {node.name for node in graph if target in (node.name, node.stage)}
        if not found:
            stages = dict.fromkeys(node.stage for node in graph)
            raise ParamsError(f"{target}: not a node or stage of dvc.yaml; the stages are {', '.join(stages)}")
        names |= found
    return names
