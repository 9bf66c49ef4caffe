"""Processes: found in /proc, and waited for; and free ports."""

import socket
import time
from collections.abc import Callable
from pathlib import Path


def wait(is_true: Callable[[], bool], what: str) -> None:
    """Until it is true; a minute at most."""
    end = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)


def is_alive(process_id: int) -> bool:
    """Whether there is such a process, and more of it than its exit status."""
    try:
        return b") Z " not in Path(f"/proc/{process_id}/stat").read_bytes()
    except FileNotFoundError:
        return False


def find_stages(stage: str, root: Path) -> set[int]:
    """Processes of a stage that runs below some `dvc` in the project at `root`, the shell around it left out."""
    found = set()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if stage.encode() in words and b"-m" in words and (process / "cwd").resolve() == root.resolve():
                found.add(int(process.name))
        except OSError:  # gone meanwhile
            continue
    return found


def find_port() -> int:
    """A free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
