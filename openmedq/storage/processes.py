"""End a process when the process that started it ends, so that no orphan keeps the lock of an output."""

import os
import signal
import threading
import time
from itertools import takewhile

import psutil

TERM_SECONDS = 60.0  # in which a stage may end by itself


def die_with_parent(poll_seconds: float = 0.5) -> None:
    """Watch the parent process from a thread, and kill this process when the parent ends.

    A process whose parent ended gets a new parent, on any Unix. Linux's PR_SET_PDEATHSIG is no alternative: it fires
    when the parent's thread ends, and the parent may have started this process from a short-lived thread.
    """
    _watch([psutil.Process()], poll_seconds)


def die_with_dvc(poll_seconds: float = 0.5) -> None:
    """End this process, a DVC stage, when the `dvc` that runs it ends: by SIGTERM, or, after a minute, by SIGKILL.

    A training saves a checkpoint at SIGTERM. If it and dvc are asked to stop together, dvc ends first.

    DVC starts the command in a shell. Some shells replace themselves by the command (bash), others stay its parent and
    outlive dvc (dash). The processes of a stage have its name in their environment; dvc itself does not.
    """
    this = psutil.Process()
    _watch([this, *takewhile(_is_of_this_stage, this.parents())], poll_seconds, TERM_SECONDS)


def be_worker() -> None:
    """Initialize a worker of a pool: it ends with the owner of the pool, which alone handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()


def be_loader(training_id: int, number: int) -> None:
    """Initialize a loader process, whose parent is a fork server: it ends with the training that started the server.

    The training may have been killed before this process has started.
    """
    this = psutil.Process()
    chain = [this, *this.parents()[:1]]
    _watch(chain, poll_seconds=0.5)
    if _parents(chain)[1:] != [training_id]:
        os.kill(os.getpid(), signal.SIGKILL)


def _is_of_this_stage(process: psutil.Process) -> bool:
    try:
        return bool(process.environ().get("DVC_STAGE") == os.environ["DVC_STAGE"])
    except psutil.Error:  # it ended, or access is denied
        return False


def _watch(chain: list[psutil.Process], poll_seconds: float, term_seconds: float = 0) -> None:
    """Kill this process when the parent of any process in the chain changes, `term_seconds` after a SIGTERM."""
    parents = _parents(chain)

    def watch() -> None:
        while parents and _parents(chain) == parents:
            time.sleep(poll_seconds)
        if term_seconds:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(term_seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="die_with_parent", daemon=True).start()


def _parents(chain: list[psutil.Process]) -> list[int]:
    try:
        return [process.ppid() for process in chain]
    except psutil.NoSuchProcess:
        return []
