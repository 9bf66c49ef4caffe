"""The Prefect task that reproduces one DVC node.

It runs `dvc repro -s NODE`, the command that a user would run by hand.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.sync import concurrency

from flows.graph import DVC, Node
from openmedq.errors import TRY_AGAIN
from openmedq.stages import STAGES

TERM_SECONDS = 20.0  # time for a stopped stage to end, before it is killed
SLOTS = {"gpu": 1}  # Prefect concurrency limits, over all flow runs of a server
JITTER = 0.5  # retry delays are random, up to this share longer


@dataclass(frozen=True)
class Outcome:
    """The result of a node."""

    name: str
    state: str  # ran, cached
    seconds: float


class NodeError(Exception):
    """A node failed; `str()` is one line with its name and the last error."""

    def __init__(self, name: str, lines: list[str]) -> None:
        """`lines`: the output of DVC and the stage."""
        found = re.search(r"exited with (-?\d+)", "\n".join(lines[-5:]))
        self.stage_status = int(found[1]) if found else None  # None: the command did not run
        own = [line for line in lines if line.strip() and not _is_epilogue(line)]
        stated = [line for line in own if line.lower().startswith("error: ")]
        self.is_stated = bool(stated)
        last = (stated or own or ["no output"])[-1]
        super().__init__(f"{name}: {re.sub('^error: ', '', last, flags=re.IGNORECASE)}")

    @property
    def is_temporary(self) -> bool:
        """Whether a retry may succeed: not if the stage stated a user error, or DVC did not run it."""
        return self.stage_status == TRY_AGAIN or (self.stage_status is not None and not self.is_stated)


class Processes:
    """The processes of this flow run, each the leader of a process group; stopped together."""

    def __init__(self) -> None:
        """Start with no processes."""
        self._lock = threading.Lock()
        self._live: set[subprocess.Popen[str]] = set()
        self._is_stopped = False

    @contextmanager
    def start(self, command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
        """Start a process whose stdout and stderr are read line by line; InterruptedError if all are stopped."""
        with self._lock:
            self._check()
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
                **options,
            )
            self._live.add(process)
        try:
            yield process
            self._check()
        finally:
            if process.poll() is None:
                _stop(process)
            if process.stdout:
                process.stdout.close()
            with self._lock:
                self._live.discard(process)

    def stop(self) -> None:
        """Stop all processes and their stages, and allow no new ones."""
        with self._lock:
            self._is_stopped = True
            live = list(self._live)
        _stop(*live)

    def reset(self) -> None:
        """Allow new processes, for a new flow run."""
        self._is_stopped = False

    def _check(self) -> None:
        if self._is_stopped:
            raise InterruptedError("the flow run was stopped")


PROCESSES = Processes()


def is_worth_retrying(task: object, task_run: object, state: Any) -> bool:
    """Decide whether Prefect retries a failed task."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, NodeError) and error.is_temporary


def task_for(node: Node) -> Any:
    """Return the task with the retries of the node's stage."""
    delays_s = STAGES[node.stage].retry_delays_s if node.stage in STAGES else ()
    if not delays_s:
        return reproduce
    return reproduce.with_options(retries=len(delays_s), retry_delay_seconds=list(delays_s), retry_jitter_factor=JITTER)


@task(task_run_name="{name}", cache_policy=NO_CACHE, retry_condition_fn=is_worth_retrying)
def reproduce(name: str, stage: str, root: str) -> Outcome:
    """Reproduce one node; NodeError if DVC or the stage fails."""
    slot = STAGES[stage].slot if stage in STAGES else None
    with _occupy(slot) if slot else nullcontext():
        started = time.monotonic()
        lines = _stream([*DVC, "repro", "-s", name], Path(root), name)
        seconds = time.monotonic() - started
    has_run = any(line.startswith(f"Running stage '{name}'") for line in lines)
    return Outcome(name, "ran" if has_run else "cached", seconds)


@contextmanager
def _occupy(slot: str) -> Iterator[None]:
    """Occupy a slot of the server; an outage of the server neither stops the stage nor hides its result."""
    is_over, own = False, None
    try:
        with concurrency(slot, strict=True, raise_on_lease_renewal_failure=False):
            try:
                yield
            except BaseException as error:
                own = error
                raise
            finally:
                is_over = True
    except httpx.HTTPError:  # the slot is not released, and free when its lease ends
        if own is not None:
            raise own from None
        if not is_over:
            raise


def _stream(command: list[str], root: Path, name: str) -> list[str]:
    """Run a command, log its output as it arrives, and return its lines."""
    logger = get_run_logger()
    environment = {
        **os.environ,
        # The stage uses this Python, also without an activated virtual environment.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
    }
    lines = []
    with PROCESSES.start(command, cwd=root, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if lines[-1]:
                logger.info("%s", lines[-1])
        status = process.wait()
    if status:
        raise NodeError(name, lines)
    return lines


def _is_epilogue(line: str) -> bool:
    """Whether the line is DVC's message after a failed stage; the stage's own error is before it."""
    return "failed to reproduce" in line and "failed to run" in line


def _stop(*processes: subprocess.Popen[str]) -> None:
    """Ask the stages to stop; each DVC then ends by itself. SIGTERM would cut `dvc.lock` while DVC writes it."""
    asked: set[psutil.Process] = set()
    deadline = time.monotonic() + TERM_SECONDS
    while any(map(_is_group_alive, processes)) and time.monotonic() < deadline:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                for child in set(psutil.Process(process.pid).children(recursive=True)) - asked:
                    asked.add(child)
                    child.terminate()
        time.sleep(0.05)
    for process in processes:
        if _is_group_alive(process):
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_group_alive(process: subprocess.Popen[str]) -> bool:
    process.poll()  # reaps the leader: a zombie would keep the group alive
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True
