"""Run tasks on a Dask cluster (`execution.scheduler`, extra `cluster`) in place of a pool of processes.

Dask distributes the tasks and repeats those of a worker that died. Each worker is checked, because other code, other
packages or other files would change the outputs.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import platform
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmedq import paths
from openmedq.errors import OpenMedQError, TemporaryError, shorten

if TYPE_CHECKING:
    from distributed import Client

TASKS_PER_WORKER = 8  # submitted ahead: the arguments of each are in the memory of this process and the scheduler

_DECODERS = ("numpy", "pillow", "imagehash", "scipy", "opencv-python-headless", "pydicom", "python-gdcm")


def _describe() -> dict[str, str]:
    """What the bytes of an output depend on, besides the inputs."""
    package = Path(__file__).parents[1]
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(package.rglob("*.py"))))
    found = {"OpenMedQ's code": code.hexdigest()[:12], "Python": platform.python_version()}
    return found | {name: next((each.version for each in distributions(name=name)), "none") for name in _DECODERS}


_LOADED = _describe()  # when this module is loaded: the files may change while a worker runs
_ONE_AT_A_TIME = threading.Lock()  # Pillow's bound and Python's filters of warnings belong to the whole process


def _check(loaded: dict[str, str], marker: Path) -> None:
    """OpenMedQError if this worker has other code than `loaded`, or does not see the file `marker` in the project."""
    for name, here in _LOADED.items():
        if here != loaded[name]:
            raise OpenMedQError(
                f"execution.scheduler: a worker on {socket.gethostname()} has {name} {here}, this machine "
                f"{loaded[name]}; start the worker again with the same environment"
            )
    if not marker.is_file():
        raise OpenMedQError(
            f"execution.scheduler: a worker on {socket.gethostname()} does not see {paths.PARTIAL} of the project; "
            "start it in the project's folder, on a file system that all machines share"
        )


def _run(
    loaded: dict[str, str], marker: Path, function: Callable[..., Any], *arguments: Any
) -> tuple[Any, Exception | None]:
    """In a worker: the result, or the function's exception, which Dask would log with the names of files."""
    _check(loaded, marker)
    with _ONE_AT_A_TIME:
        try:
            return function(*arguments), None
        except Exception as error:
            return None, error


class Cluster(Executor):
    """Dask's executor, on workers that are like this process."""

    def __init__(self, client: Client, address: str, marker: Path) -> None:
        self._inner = client.get_executor(pure=False)  # pure: Dask would hash all arguments
        self._address = address
        self._marker = marker

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send the task to the cluster."""
        outcome: Future[Any] = Future()

        def deliver(task: Future[Any]) -> None:
            try:
                result, problem = task.result()
            except Exception as error:
                result, problem = None, _explain(error, self._address)
            if problem is not None:
                outcome.set_exception(problem)
            else:
                outcome.set_result(result)

        self._inner.submit(_run, _LOADED, self._marker, partial(fn, **kwargs), *args).add_done_callback(deliver)
        return outcome


def _explain(error: Exception, address: str) -> OpenMedQError:
    """The one-line error for an exception of Dask."""
    from distributed.scheduler import NoWorkerError

    if isinstance(error, OpenMedQError):
        return error
    if isinstance(error, (CancelledError, NoWorkerError, TimeoutError)):
        how = f"start the scheduler and `python -m dask worker {address}`, and run the command again"
        return TemporaryError(f"{address}: lost the scheduler, or no worker is left; {how}")
    how = "give the workers more memory, or start them and the scheduler with this environment in the project's folder"
    return OpenMedQError(f"{address}: a task can't run there ({type(error).__name__}: {shorten(error, 160)}); {how}")


@contextmanager
def open_cluster(address: str) -> Iterator[tuple[Executor, int]]:
    """Connect to the scheduler; yields the executor and the number of tasks to submit ahead.

    Raises:
        TemporaryError: the scheduler can't be reached, or has no worker.
        OpenMedQError: a worker has other code, other packages or other files.
    """
    from dask import config
    from distributed import Client

    for name in ("distributed.client", "distributed.core"):  # they log stack traces for a lost connection
        logging.getLogger(name).setLevel(logging.CRITICAL)
    paths.PARTIAL.mkdir(parents=True, exist_ok=True)
    with (
        config.set({"distributed.admin.large-graph-warning-threshold": "1 GB"}),  # an image may have 10 MB
        tempfile.NamedTemporaryFile(dir=paths.PARTIAL, prefix="cluster-") as file,
    ):
        problem = ""
        try:
            client = Client(address, set_as_default=False)
        except (OSError, TypeError) as error:  # TypeError: a tls:// address without certificates in Dask's settings
            problem = str(error) or type(error).__name__
        if problem:
            gc.collect()  # closes the failed client here; in the thread of a later client it would be a deadlock
            how = "check execution.scheduler in params.yaml, and distributed.comm.tls in Dask's configuration"
            raise TemporaryError(f"{address}: no Dask scheduler answers ({problem}); {how}")
        marker = paths.PARTIAL / Path(file.name).name  # relative: the project may be elsewhere on a worker's machine
        with client:
            try:
                client.wait_for_workers(1, timeout=config.get("distributed.comm.timeouts.connect"))
                client.run(_check, _LOADED, marker)
            except Exception as error:
                raise _explain(error, address) from None
            yield Cluster(client, address, marker), TASKS_PER_WORKER * len(client.nthreads())
