"""Processes that don't outlive who started them. A lock keeps two writers apart; this spares the wait for an orphan."""

from __future__ import annotations

import os
import signal
import threading
import time


def die_with_parent(poll_seconds: float = 0.5) -> None:
    """Watch the parent process from a thread, and end this one with SIGKILL when it is gone.

    Linux's PR_SET_PDEATHSIG would fire when the parent's *thread* ends, and the parent may well have started us from
    a thread that ends before it; a process that has a new parent has lost its old one, on any Unix.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(poll_seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="die_with_parent", daemon=True).start()


def be_worker() -> None:
    """Prepare a pool's worker: it dies with the pool's owner, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
