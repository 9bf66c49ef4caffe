"""A process that watches its parent dies with it, and not with the thread that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PARENT = """
import subprocess, sys, threading, time

child = "import time; from openmedq.io.processes import die_with_parent; die_with_parent(0.05); print(1, flush=True); time.sleep(60)"
started = []

def start():
    started.append(subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE))

thread = threading.Thread(target=start)
thread.start()
thread.join()
started[0].stdout.readline()
print(started[0].pid, flush=True)
time.sleep(60)
"""  # noqa: E501


def test_a_child_dies_with_its_parent_alone() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], env=environment, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.5)
    assert _is_alive(child), "it died with the thread that started it"
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    for _ in range(100):
        if not _is_alive(child):
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("it outlived its parent")


def _is_alive(process_id: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{process_id}/stat").read_bytes()
    except FileNotFoundError:
        return False
