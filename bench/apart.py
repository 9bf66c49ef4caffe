"""Measure each way in a process of its own, so that no way profits or suffers from the one before it.

A script runs itself with `--one WORDS`, and the last line that this process prints is a JSON object.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}

T = TypeVar("T")


def run(script: str, *words: object, cwd: Path | None = None, **environment: str) -> dict[str, Any]:
    """Run `script --one WORDS` and return its JSON object."""
    command = [sys.executable, str(Path(script).resolve()), "--one", *map(str, words)]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    more = {**ENVIRONMENT, "PYTHONPATH": paths, **environment}
    done = subprocess.run(command, cwd=cwd, env=os.environ | more, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(work: Callable[[], T], num_workers: int = 0) -> tuple[T, dict[str, float]]:
    """Return what a function returns, its seconds, and the memory of the process and its workers at their peaks."""
    start, start_cpu = time.perf_counter(), _cpu_s()
    result = work()
    seconds = time.perf_counter() - start
    own, worker = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    peak_kb = own.ru_maxrss + num_workers * worker.ru_maxrss  # that of the largest worker
    return result, {"seconds": seconds, "cpu_s": _cpu_s() - start_cpu, "peak_mb": peak_kb / 1024}


def _cpu_s() -> float:
    """Seconds of CPU of this process and of its workers that have ended."""
    return sum(os.times()[:4])


def summarize(values: Sequence[float], style: str) -> str:
    """Return median, minimum and maximum."""
    return "".join(f"{format(each, style):>9}" for each in (statistics.median(values), min(values), max(values)))


def draw_words(random: Any, number: int) -> list[str]:
    """Draw words of 2 to 10 letters with a `random.Random`."""
    return ["".join(random.choices("abcdefghiklmnoprstuvy", k=random.randint(2, 10))) for _ in range(number)]
