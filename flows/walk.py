"""Walks nodes of DVC's graph: one Prefect task each, none before those that it needs, and a table at the end.

Which nodes is the flows' choice (`build`, `learn`, the whole); how one node is reproduced stands in `reproduce`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.futures import wait
from prefect.task_runners import ThreadPoolTaskRunner

from flows.graph import Node
from flows.reproduce import PROCESSES, SLOTS, NodeError, Outcome, task_for
from openmedq import paths
from openmedq.errors import OpenMedQError

PAGES = {"report": paths.REPORT / "index.html", "data-docs": paths.DATA_DOCS / "index.html"}
NOT_RUN = "not run"


class WalkError(OpenMedQError):
    """Some nodes failed: the first one's line, and how many more."""


def walk(root: Path, selected: Sequence[Node], max_workers: int) -> list[Outcome]:
    """Reproduce the selected nodes, at most `max_workers` at a time; WalkError at the end where one failed.

    A node whose upstream failed is not run; the others are.
    """
    if any(node.name == "manifest" for node in selected):
        _check_local_folder(root)
    declare_slots()
    PROCESSES.reset()
    futures: dict[str, Any] = {}
    runner: ThreadPoolTaskRunner[Outcome] = ThreadPoolTaskRunner(max_workers=max_workers)
    with runner:
        try:
            for node in selected:
                futures[node.name] = runner.submit(
                    task_for(node),
                    {"name": node.name, "stage": node.stage, "root": str(root)},
                    wait_for=[futures[name] for name in node.upstream if name in futures],
                )
            wait(list(futures.values()))
        except BaseException:  # cancelled, or interrupted: the stages must not outlive the flow
            PROCESSES.stop()
            raise
    states = {name: future.state for name, future in futures.items()}
    outcomes = [_outcome(name, state) for name, state in states.items()]
    _publish_artifacts(root, outcomes)
    _raise_failures(states, outcomes)
    return outcomes


def _check_local_folder(root: Path) -> None:
    """WalkError where the local data folder is missing: one line that says what to do, before DVC hashes it."""
    done = subprocess.run([sys.executable, "-m", "openmedq", "locate"], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise WalkError(done.stderr.strip().removeprefix("error: "))


def declare_slots() -> None:
    """Create the limits that the server lacks; what its owner has set is left alone."""
    with get_client(sync_client=True) as client:
        for name, limit in SLOTS.items():
            try:
                client.read_global_concurrency_limit_by_name(name)
            except ObjectNotFound:
                client.upsert_global_concurrency_limit_by_name(name, limit)


def render(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a Markdown table, after one line of counts."""
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome.state] = counts.get(outcome.state, 0) + 1
    rows = [f"| `{outcome.name}` | {outcome.state} | {outcome.seconds:.1f} |" for outcome in outcomes]
    head = ", ".join(f"{number} {state}" for state, number in counts.items())
    return "\n".join([head, "", "| node | state | seconds |", "|---|---|---:|", *rows])


def run_by_hand(flow: Callable[..., Any], arguments: Sequence[str] | None = None) -> int:
    """A flow from the command line: exit code 1 and one line where it fails."""
    parser = argparse.ArgumentParser(description=flow.__doc__)
    parser.add_argument("targets", nargs="*", help="nodes or stages of dvc.yaml, with what they need; all unless given")
    parser.add_argument("--max-workers", type=int, default=2, help="nodes at a time; 2 unless given")
    options = parser.parse_args(arguments)
    try:
        flow(targets=options.targets or None, max_workers=options.max_workers)
    except OpenMedQError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; the stages were stopped", file=sys.stderr)
        return 1
    return 0


def _outcome(name: str, state: State[Any]) -> Outcome:
    if state.is_completed():
        return cast(Outcome, state.result())
    return Outcome(name, "failed" if state.is_failed() or state.is_crashed() else NOT_RUN, 0.0)


def _publish_artifacts(root: Path, outcomes: Sequence[Outcome]) -> None:
    create_markdown_artifact(key="nodes", markdown=render(outcomes), description="what became of each node")
    for key, page in PAGES.items():
        path = root / page
        if path.exists():
            create_link_artifact(key=key, link=path.absolute().as_uri(), link_text=str(page))


def _raise_failures(states: Mapping[str, State[Any]], outcomes: Sequence[Outcome]) -> None:
    failed = [outcome.name for outcome in outcomes if outcome.state == "failed"]
    if not failed:
        return
    error = states[failed[0]].result(raise_on_failure=False)
    first = str(error) if isinstance(error, NodeError) else f"{failed[0]}: {type(error).__name__}: {error}"
    num_not_run = sum(outcome.state == NOT_RUN for outcome in outcomes)
    more = f"; {len(failed) - 1} more failed" if len(failed) > 1 else ""
    raise WalkError(f"{first}{more}; {num_not_run} not run")
