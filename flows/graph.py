"""Asks DVC for the nodes and edges of the pipeline. No edge is written anywhere but in `dvc.yaml`."""

from __future__ import annotations

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

DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")  # the DVC of this environment, not one further up the path


@dataclass(frozen=True)
class Node:
    """One DVC stage: `normalize@vqa_rad` is a node of the stage `normalize`."""

    name: str
    stage: str
    upstream: tuple[str, ...]


def nodes(root: Path) -> list[Node]:
    """All nodes, each after those that it needs; breadth first, so that none holds a worker that others could use."""
    try:
        with Repo(str(root)) as repo:
            graph = repo.index.graph  # from a stage to those that it needs
            names = {stage: _name(stage, root) for stage in graph}
            upstream = {names[stage]: tuple(sorted(names[needed] for needed in graph[stage])) for stage in graph}
    except DvcException as error:
        raise ParamsError(f"{root}: DVC can't read the pipeline: {' '.join(str(error).split())}") from None
    ordered: list[str] = []
    sorter = TopologicalSorter(upstream)
    sorter.prepare()
    while sorter.is_active():
        generation = sorted(sorter.get_ready())
        ordered += generation
        sorter.done(*generation)
    return [Node(name, name.partition("@")[0], upstream[name]) for name in ordered]


def ancestors(graph: Sequence[Node], targets: Iterable[str]) -> list[Node]:
    """The targets (names of nodes or of whole stages) and all that they need, in order; ParamsError where unknown."""
    wanted = _find(graph, targets)
    for node in reversed(graph):
        if node.name in wanted:
            wanted.update(node.upstream)
    return [node for node in graph if node.name in wanted]


def descendants(graph: Sequence[Node], targets: Iterable[str]) -> list[Node]:
    """All that needs the targets, without them, in order; ParamsError where a target is unknown."""
    given = _find(graph, targets)
    reached = set(given)
    for node in graph:
        if reached.intersection(node.upstream):
            reached.add(node.name)
    return [node for node in graph if node.name in reached - given]


def list_changed(root: Path, names: Sequence[str]) -> list[str]:
    """Those of the nodes that DVC would run again."""
    if not names:
        return []
    command = [*DVC, "status", "--json", *names]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise OpenMedQError(f"dvc status: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    status: dict[str, Any] = json.loads(done.stdout)
    return sorted(status)


def _name(stage: Any, root: Path) -> str:
    """What `dvc repro` takes at the root; a stage's own `addressing` is relative to the current directory."""
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
            raise ParamsError(f"{target}: no such node or stage in dvc.yaml; the stages are {', '.join(stages)}")
        names |= found
    return names
