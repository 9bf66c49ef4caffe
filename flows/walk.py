"""Reproduce nodes of DVC's graph in order, one Prefect task each, and publish a table of the results."""

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
from alembic.util import CommandError
from prefect import tags
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.futures import wait
from prefect.runtime import flow_run
from prefect.server.database import provide_database_interface
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_API_AUTH_STRING,
    temporary_settings,
)
from prefect.task_runners import ThreadPoolTaskRunner
from sqlalchemy.exc import SQLAlchemyError

from flows.graph import Node
from flows.reproduce import PROCESSES, SLOTS, NodeError, Outcome, task_for
from openmedq import paths
from openmedq.cli import Parser, whole
from openmedq.errors import OpenMedQError, shorten

PAGES = {"validate": paths.DATA_DOCS / "index.html", "report": paths.REPORT / "index.html"}  # of nodes
REPORT = paths.REPORT / "report.md"  # scores and waterfall
NOT_RUN = "not run"


class WalkError(OpenMedQError):
    """Nodes failed: the first one's error, and the number of the others."""


def walk(root: Path, selected: Sequence[Node], max_workers: int) -> list[Outcome]:
    """Reproduce the selected nodes, at most `max_workers` in parallel.

    Raises:
        WalkError: a node failed. All nodes that do not depend on it have run.
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
                with tags(*node.name.split("@")):  # the stage and, of most nodes, the dataset
                    futures[node.name] = runner.submit(
                        task_for(node),  # not its own tags: Prefect would warn of dead-locks at two workers
                        {"name": node.name, "stage": node.stage, "root": str(root)},
                        wait_for=[futures[name] for name in node.upstream if name in futures],
                    )
            wait(list(futures.values()))
        except BaseException:  # cancelled or interrupted: no stage may run on
            PROCESSES.stop()
            raise
    states = {name: future.state for name, future in futures.items()}
    outcomes = [_outcome(name, state) for name, state in states.items()]
    create_markdown_artifact(key="nodes", markdown=render(outcomes), description="result of each node")
    if any(outcome.name == "report" for outcome in outcomes) and (root / REPORT).exists():
        text = (root / REPORT).read_text(encoding="utf-8")
        create_markdown_artifact(key="results", markdown=text, description="scores and rows at each step")
    _raise_failures(states, outcomes)
    return outcomes


def _check_local_folder(root: Path) -> None:
    """Raise WalkError if the local data folder is missing, before DVC hashes it."""
    done = subprocess.run([sys.executable, "-m", "openmedq", "locate"], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise WalkError(done.stderr.strip().removeprefix("error: "))


def declare_slots() -> None:
    """Create missing concurrency limits; existing ones keep their values."""
    with get_client(sync_client=True) as client:
        for name, limit in SLOTS.items():
            try:
                client.read_global_concurrency_limit_by_name(name)
            except ObjectNotFound:
                client.upsert_global_concurrency_limit_by_name(name, limit)


def render(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a Markdown table, after one line of counts, and the pages in the project's folder."""
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome.state] = counts.get(outcome.state, 0) + 1
    rows = [f"| `{outcome.name}` | {outcome.state} | {outcome.seconds:.1f} |" for outcome in outcomes]
    head = ", ".join(f"{number} {state}" for state, number in counts.items())
    pages = [f"- `{PAGES[each.name]}`" for each in outcomes if each.name in PAGES]  # browsers open no link to a file
    return "\n".join([head, "", "| node | state | seconds |", "|---|---|---:|", *rows, "", *pages])


def name_run() -> str:
    """Return the name of the current flow run: the flow and its targets."""
    targets = flow_run.parameters.get("targets")
    return f"{flow_run.flow_name}: {', '.join(targets)}" if targets else str(flow_run.flow_name)


def run_by_hand(flow: Callable[..., Any], arguments: Sequence[str] | None = None) -> int:
    """Run a flow from the command line; return 1 after one line if it fails."""
    parser = Parser(prog=f"python -m flows.{flow.__name__}", description=flow.__doc__)
    parser.add_argument("targets", nargs="*", help="nodes or stages of dvc.yaml; default: all of the flow")
    parser.add_argument("--max-workers", type=whole(1, 1000), default=2, help="number of parallel nodes; default: 2")
    options = parser.parse_args(arguments)
    try:
        with close_temporary_server():
            require_server()
            flow(targets=options.targets or None, max_workers=options.max_workers)
    except OpenMedQError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; the stages were stopped", file=sys.stderr)
        return 1
    return 0


def require_server() -> None:
    """Start a temporary server if none is configured; OpenMedQError if that fails or the configured one is silent."""
    if not PREFECT_API_URL.value():
        try:
            PREFECT_HOME.value().mkdir(parents=True, exist_ok=True)
            asyncio.run(_migrate())
            get_client(sync_client=True)  # starts it
        except (SQLAlchemyError, CommandError) as error:
            reason = shorten(error).partition(" (Background on")[0]
            raise OpenMedQError(
                f"{PREFECT_HOME.value()}: Prefect's database can't be used: {reason}; move it away, or set "
                "PREFECT_HOME to another folder"
            ) from None
        except (OSError, RuntimeError, ValueError, httpx.HTTPError) as error:
            reason = shorten(error) or type(error).__name__
            raise OpenMedQError(
                f"Prefect's temporary server: {reason}; run the command again, or start a server (`make ui`) and set "
                "PREFECT_API_URL"
            ) from None
        return
    with get_client(sync_client=True) as client:
        problem = client.api_healthcheck()
    if problem is not None:  # its message may contain a password of the address
        raise OpenMedQError(
            f"PREFECT_API_URL: Prefect's server does not answer ({type(problem).__name__}); start it (`make ui`), or "
            "unset the variable"
        )


async def _migrate() -> None:
    """Open and update the database of the temporary server, which would start again and again if that fails."""
    database = provide_database_interface()
    await database.create_db()
    await (await database.engine()).dispose()


@contextmanager
def close_temporary_server() -> Iterator[None]:
    """Set a random password for the server that Prefect starts if no PREFECT_API_URL is configured.

    It listens on loopback and does not check Host: without the password, a web page could reach it by DNS rebinding.
    """
    if PREFECT_API_URL.value() or PREFECT_SERVER_API_AUTH_STRING.value():
        yield
        return
    password = f"openmedq:{secrets.token_urlsafe(32)}"
    with temporary_settings({PREFECT_SERVER_API_AUTH_STRING: password, PREFECT_API_AUTH_STRING: password}):
        yield


def _outcome(name: str, state: State[Any]) -> Outcome:
    if state.is_completed():
        return cast(Outcome, state.result())
    return Outcome(name, "failed" if state.is_failed() or state.is_crashed() else NOT_RUN, 0.0)


def _raise_failures(states: Mapping[str, State[Any]], outcomes: Sequence[Outcome]) -> None:
    failed = [outcome.name for outcome in outcomes if outcome.state == "failed"]
    if not failed:
        return
    error = states[failed[0]].result(raise_on_failure=False)
    first = str(error) if isinstance(error, NodeError) else f"{failed[0]}: {type(error).__name__}: {error}"
    num_not_run = sum(outcome.state == NOT_RUN for outcome in outcomes)
    more = f"; {len(failed) - 1} more failed" if len(failed) > 1 else ""
    raise WalkError(f"{first}{more}; {num_not_run} not run")
