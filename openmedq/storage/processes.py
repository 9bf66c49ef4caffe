"""Processes that don't outlive who started them. A lock keeps two writers apart; this spares the wait for an orphan."""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import takewhile

import psutil


def die_with_parent(poll_seconds: float = 0.5) -> None:
    """Watch the parent process from a thread, and end this one with SIGKILL when it is gone.

    Linux's PR_SET_PDEATHSIG would fire when the parent's *thread* ends, and the parent may well have started us from
    a thread that ends before it; a process that has a new parent has lost its old one, on any Unix.
    """
    _watch([psutil.Process()], poll_seconds)


def die_with_dvc(poll_seconds: float = 0.5) -> None:
    """The same for a stage and the `dvc` that runs it, which may not be its parent.

    DVC starts a shell for the stage's command. Some replace themselves by it (bash); others stay in between (dash), and
    outlive dvc. A process that DVC started for a stage has the stage's name in its environment, dvc itself has not.
    """
    this = psutil.Process()
    _watch([this, *takewhile(_is_of_this_stage, this.parents())], poll_seconds)


def be_worker() -> None:
    """Prepare a pool's worker: it dies with the pool's owner, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()


def _is_of_this_stage(process: psutil.Process) -> bool:
    try:
        return bool(process.environ().get("DVC_STAGE") == os.environ["DVC_STAGE"])
    except psutil.Error:  # gone, or not ours to look into
        return False


def _watch(chain: list[psutil.Process], poll_seconds: float) -> None:
    """End this process when any of the chain, from it upwards, has another parent than now."""
    parents = _parents(chain)

    def watch() -> None:
        while parents and _parents(chain) == parents:
            time.sleep(poll_seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="die_with_parent", daemon=True).start()


def _parents(chain: list[psutil.Process]) -> list[int]:
    try:
        return [process.ppid() for process in chain]
    except psutil.NoSuchProcess:
        return []
