"""Processes: forked from one that is prepared, found in /proc, and waited for; and free ports."""

import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORKS = """
import importlib, json, os, runpy, sys, threading

for name in sys.argv[1:]:
    importlib.import_module(name)
for name in [name for name in sys.modules if name.startswith("openmedq")]:
    del sys.modules[name]
assert threading.active_count() == 1
for line in sys.stdin:
    if not (child := os.fork()):
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
words, folder, environment, errors = json.loads(line)
for number, name in enumerate((os.devnull, os.devnull, errors)):
    os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
os.chdir(folder)
os.environ.clear()
os.environ.update(environment)
sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
sys.modules.pop("sitecustomize", None)
importlib.import_module("sitecustomize")
sys.argv[1:] = words
runpy.run_module("openmedq", run_name="__main__", alter_sys=True)
"""
Run = Callable[[tuple[str, ...], Path, Mapping[str, str]], tuple[int, str]]


@contextmanager
def open_forks(folder: Path, *modules: str) -> Iterator[Run]:
    """Yield a function that runs `python -m openmedq WORD ...` and returns its exit status and what it said.

    Arguments: the words, the current folder, the environment, whose PYTHONPATH has a `sitecustomize.py`. It is a fork
    of a process that has imported what the modules need of other packages: that takes seconds.
    """
    command = [sys.executable, "-W", "ignore", "-c", FORKS, *modules]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, text=True) as server:
        assert server.stdin and server.stdout
        numbers = itertools.count()

        def run(words: tuple[str, ...], root: Path, environment: Mapping[str, str]) -> tuple[int, str]:
            said = folder / f"said-{next(numbers)}.txt"
            print(json.dumps([words, str(root), dict(environment), str(said)]), file=server.stdin, flush=True)
            status = int(server.stdout.readline())
            return status, said.read_text(encoding="utf-8")

        yield run


def wait(is_true: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Until it is true; a minute at most."""
    end = time.monotonic() + seconds
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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
