"""Run tasks on a Dask cluster (`execution.scheduler`, extra `cluster`) in place of a pool of processes.

Dask distributes the tasks and repeats those of a worker that died. Here they are bounded in number, and each worker is
checked, because other code, other packages or other files would change the outputs.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from openmedq import paths
from openmedq.errors import OpenMedQError, TemporaryError

if TYPE_CHECKING:
    from distributed import Client

TASKS_PER_WORKER = 8  # that are unfinished: the arguments of each are in the memory of this process and the scheduler
CHECK_S = 30.0  # time between looks whether a worker is left

_DECODERS = ("numpy", "pillow", "imagehash", "scipy", "opencv-python-headless", "pydicom", "python-gdcm")
_HOW = "start the scheduler and its workers in the project's folder, with this environment"

_log = logging.getLogger(__name__)


def _describe() -> dict[str, str]:
    """What the bytes of an output depend on, besides the inputs."""
    code = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        code.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes())
    found = {"OpenMedQ's code": code.hexdigest()[:12], "Python": platform.python_version()}
    for name in _DECODERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


_LOADED = _describe()  # when this module is loaded: the files may change while a worker runs
_ONE_AT_A_TIME = threading.Lock()  # Pillow's bound and Python's filters of warnings belong to the whole process


class Site(NamedTuple):
    """What a worker must have in common with this process."""

    loaded: dict[str, str]
    marker: Path  # a file below data/, relative to the project's folder


def _check(site: Site) -> None:
    """OpenMedQError if this worker would not compute what the client would."""
    for name, here in _LOADED.items():
        if here != site.loaded[name]:
            raise OpenMedQError(
                f"execution.scheduler: a worker on {socket.gethostname()} has {name} {here}, this machine "
                f"{site.loaded[name]}; start the worker again with the same environment"
            )
    if not site.marker.is_file():
        raise OpenMedQError(
            f"execution.scheduler: a worker on {socket.gethostname()} does not see {paths.PARTIAL} of the project; "
            "start it in the project's folder, on a file system that all machines share"
        )


def _run(site: Site, function: Callable[..., Any], *arguments: Any) -> tuple[Any, Exception | None]:
    """In a worker: the result, or the exception of the function itself, which is none of Dask's."""
    _check(site)
    with _ONE_AT_A_TIME:
        try:
            return function(*arguments), None
        except Exception as error:
            return None, error


class Cluster(Executor):
    """Dask's executor with a bounded number of unfinished tasks; a result is kept here, and no longer by a worker."""

    def __init__(self, client: Client, address: str, site: Site, num_tasks: int) -> None:
        self._inner = client.get_executor(pure=False)  # pure: Dask would hash all arguments
        self._address = address
        self._site = site
        self._room = threading.Semaphore(num_tasks)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send the task to the cluster; waits while too many are unfinished."""
        self._room.acquire()
        outcome: Future[Any] = Future()
        task = self._inner.submit(_run, self._site, partial(fn, **kwargs), *args)
        task.add_done_callback(partial(self._deliver, outcome))
        return outcome

    def _deliver(self, outcome: Future[Any], task: Future[Any]) -> None:
        self._room.release()
        try:
            result, problem = task.result()
        except Exception as error:
            outcome.set_exception(_explain(error, self._address))
            return
        if problem is not None:
            outcome.set_exception(problem)
        else:
            outcome.set_result(result)


def _explain(error: Exception, address: str) -> OpenMedQError:
    """The error of one line for an exception of Dask."""
    from distributed.scheduler import KilledWorker, NoWorkerError

    if isinstance(error, OpenMedQError):
        return error
    if isinstance(error, CancelledError):
        return TemporaryError(f"{address}: the Dask scheduler closed the connection; run the command again")
    if isinstance(error, NoWorkerError):
        return TemporaryError(
            f"{address}: no worker is left; start `python -m dask worker {address}` and run the command again"
        )
    if isinstance(error, KilledWorker):
        advice = "probably out of memory; start the workers with more memory"
        return OpenMedQError(f"{address}: every worker that got one of the tasks was killed: {advice}")
    first = (str(error).strip().splitlines() or [""])[0]
    return OpenMedQError(f"{address}: a task can't run there ({type(error).__name__}: {first}); {_HOW}")


@contextmanager
def open_cluster(address: str) -> Iterator[tuple[Executor, int]]:
    """Connect to the scheduler; yields the executor and its number of unfinished tasks.

    Raises:
        TemporaryError: the scheduler can't be reached, or has no worker.
        OpenMedQError: a worker has other code, other packages or other files.
    """
    import distributed  # noqa: F401  slow to load, and not needed on one machine
    from dask import config

    for name in ("distributed.client", "distributed.core"):  # they log stack traces for a lost connection
        logging.getLogger(name).setLevel(logging.CRITICAL)
    paths.PARTIAL.mkdir(parents=True, exist_ok=True)
    with (
        config.set({"distributed.admin.large-graph-warning-threshold": "1 GB"}),  # an image may have 10 MB
        tempfile.NamedTemporaryFile(dir=paths.PARTIAL, prefix="cluster-") as marker,
        _connect(address) as client,
    ):
        site = Site(_LOADED, paths.PARTIAL / Path(marker.name).name)
        num_workers = _check_workers(client, address, site)
        with _watch(client, address):
            num_tasks = TASKS_PER_WORKER * num_workers
            yield Cluster(client, address, site, num_tasks), num_tasks


@contextmanager
def _connect(address: str) -> Iterator[Client]:
    from distributed import Client, Security

    if address.startswith("tls:") and Security().get_connection_args("client").get("ssl_context") is None:
        raise OpenMedQError(f"{address}: no certificate; set distributed.comm.tls in Dask's configuration")
    try:
        client = Client(address, set_as_default=False)
    except OSError as error:
        reason = f"no Dask scheduler answers ({error}); check execution.scheduler in params.yaml"
        raise TemporaryError(f"{address}: {reason}") from None
    with client:
        yield client


def _check_workers(client: Client, address: str, site: Site) -> int:
    """Number of workers, all of which can run the tasks."""
    from dask import config

    try:
        client.wait_for_workers(1, timeout=config.get("distributed.comm.timeouts.connect"))
    except TimeoutError:
        raise TemporaryError(
            f"{address}: the scheduler has no worker; start `python -m dask worker {address}`"
        ) from None
    try:
        client.run(_check, site)
        client.submit(_check, site, pure=False).result()  # the scheduler loads tasks, too
    except Exception as error:
        raise _explain(error, address) from None
    threads = client.nthreads()
    if any(number > 1 for number in threads.values()):
        _log.warning("%s: a worker runs one task at a time; start more of them with --nthreads 1", address)
    return len(threads)


@contextmanager
def _watch(client: Client, address: str) -> Iterator[None]:
    """Log a warning while the cluster has no worker: Dask waits for one without limit."""
    is_done = threading.Event()

    def look() -> None:
        while not is_done.wait(CHECK_S):
            with suppress(Exception):  # the connection is lost, which the tasks report
                if not client.nthreads():
                    _log.warning("%s: no worker is left; waiting for one", address)

    thread = threading.Thread(target=look, name="watch_cluster", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
