"""A process ends with the one that started it, with a thread or a shell between them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import is_alive, wait

PARENT = '''
import subprocess, sys, threading, time

child = """
import time
from openmedq.storage.processes import die_with_parent
die_with_parent(0.05)
print(1, flush=True)
time.sleep(60)
"""
started = []

def start():
    started.append(subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE))

thread = threading.Thread(target=start)
thread.start()
thread.join()
started[0].stdout.readline()
print(started[0].pid, flush=True)
time.sleep(60)
'''


DVC = '''
import os, subprocess, sys, time

child = """
import os, time
from openmedq.storage.processes import die_with_dvc
die_with_dvc(0.05)
print(os.getpid(), flush=True)
time.sleep(60)
"""
shell = subprocess.Popen(
    ["/bin/sh", "-c", f"{sys.executable} -c '{child}'; true"],  # a shell with more to do does not become its command
    stdout=subprocess.PIPE,
    env={**os.environ, "DVC_STAGE": "a stage"},
)
print(shell.stdout.readline().decode(), flush=True)
time.sleep(60)
'''


OWNER = """
import os, time
from openmedq.config import Execution
from openmedq.storage.decoding import open_executor

with open_executor(Execution(workers=2)) as (executor, _):
    print(executor.submit(os.getpid).result(), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("program", [PARENT, DVC, OWNER], ids=["a thread between", "a shell between", "a pool"])
def test_a_child_dies_with_its_parent_alone(program: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("DVC_STAGE", None)
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.5)
    assert is_alive(child), "it died before its parent"
    parent.send_signal(signal.SIGKILL)
    wait(lambda: not is_alive(child), "the child ends with its parent")
    parent.communicate()
