"""A Dask cluster on loopback: a scheduler, and workers of one thread that can be killed one by one."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.connections import guard
from tests.processes import wait

ROOT = Path(__file__).parents[1]


class DaskCluster:
    """The processes; their current folder is `project`, and `settings` are those of Dask's scheduler."""

    def __init__(self, project: Path, scratch: Path, has_code: bool, settings: Mapping[str, str]) -> None:
        self._project = project
        self._scratch = scratch
        self._environment = {**os.environ, **guard(scratch)}
        self._environment |= {f"DASK_DISTRIBUTED__SCHEDULER__{key.upper()}": each for key, each in settings.items()}
        if has_code:
            self._environment["PYTHONPATH"] += f"{os.pathsep}{ROOT}"
        self.workers: list[subprocess.Popen[bytes]] = []
        file = scratch / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", str(file))
        try:
            wait(lambda: file.exists() and file.read_text().endswith("}"), "a scheduler")
        except BaseException:
            self.close()
            raise
        self.address: str = json.loads(file.read_text())["address"]

    def start_worker(self) -> None:
        """Start one more worker; it is connected some seconds later."""
        words = [self.address, "--nthreads", "1", "--no-nanny", "--local-directory", str(self._scratch)]
        self.workers.append(self._start("worker", *words, "--memory-limit", "0"))

    def kill(self, process_id: int) -> None:
        worker = next(worker for worker in self.workers if worker.pid == process_id)
        worker.kill()
        worker.wait()
        self.workers.remove(worker)

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()

    def _start(self, command: str, *words: str) -> subprocess.Popen[bytes]:
        words = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0", *words)
        with (self._scratch / f"{command}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", command, *words],
                cwd=self._project,
                env=self._environment,
                stdout=log,
                stderr=log,
            )


@contextmanager
def run_cluster(
    project: Path, scratch: Path, num_workers: int, has_code: bool = True, **settings: str
) -> Iterator[DaskCluster]:
    """A scheduler and workers, which import this project's packages if they have its code."""
    scratch.mkdir(exist_ok=True)
    cluster = DaskCluster(project, scratch, has_code, settings)
    try:
        for _ in range(num_workers):
            cluster.start_worker()
        yield cluster
    finally:
        cluster.close()


def hold(folder: Path) -> int:
    """A task that waits for the file `go`, and writes down which process runs it."""
    (folder / str(os.getpid())).touch()
    while not (folder / "go").exists():
        time.sleep(0.02)
    return os.getpid()
