"""Encode images with any `concurrent.futures.Executor`, each image once; results come in the order of the requests."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from openmedq.errors import OpenMedQError
from openmedq.schema import BrokenImage, EncodedImage, Image, Reason
from openmedq.storage.images import encode
from openmedq.storage.processes import be_worker

if TYPE_CHECKING:
    from openmedq.config import Execution, Normalize

NUM_AHEAD = 32  # tasks submitted ahead for each further process of a pool
REMEMBERED_BYTES = 256 * 2**20  # of encoded images
BROKEN_BYTES = 2**12  # of a remembered exception

_T = TypeVar("_T")

_ABSENT = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)  # ELOOP: a link to itself


class Inline(Executor):
    """Runs each task at once, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the task and return its finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BrokenImage as problem:
            # A new exception, because traceback and context keep the image's bytes in memory.
            future.set_exception(BrokenImage(problem.reason, problem.detail))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def open_executor(execution: Execution) -> Iterator[tuple[Executor, int]]:
    """A Dask cluster if `scheduler` is set, this process for one worker, otherwise a pool of processes.

    Yields the executor, and the number of tasks to submit ahead of the one whose result is needed. The processes of a
    pool never outlive this one.

    Raises:
        OpenMedQError: in the body, for a process of the pool that was killed.
    """
    if execution.scheduler is not None:
        from openmedq.storage.cluster import open_cluster

        with open_cluster(execution.scheduler) as opened:
            yield opened
        return
    if execution.workers == 1:
        yield Inline(), 0
        return
    # Spawned, because a fork would copy locks and the threads of libraries in any state.
    pool = ProcessPoolExecutor(execution.workers, multiprocessing.get_context("spawn"), initializer=be_worker)
    try:
        yield pool, NUM_AHEAD * (execution.workers - 1)
    except BrokenExecutor:
        advice = "probably out of memory; lower execution.workers in params.yaml"
        raise OpenMedQError(f"a worker process was killed: {advice}") from None
    finally:
        pool.shutdown(cancel_futures=True)


def keep_ahead(tasks: Iterable[_T], num_ahead: int) -> Iterator[_T]:
    """Yield submitted tasks in their order, each when `num_ahead` later ones are submitted, as drawing them does."""
    waiting: deque[_T] = deque()
    for task in tasks:
        waiting.append(task)
        if len(waiting) > num_ahead:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def encode_image(image: Image, settings: Normalize) -> EncodedImage:
    """Read and encode an image; BrokenImage if it is missing or unreadable."""
    if image.path is None:
        return encode(image.data or b"", settings)
    try:
        published = image.path.read_bytes()
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        raise BrokenImage(Reason.IMAGE_MISSING, f"no file {image.path.name}") from None
    return encode(published, settings)


class Decoder:
    """Submits images to an executor and caches recent results, so that a repeated image is decoded once."""

    def __init__(self, executor: Executor, settings: Normalize) -> None:
        self._executor = executor
        self._settings = settings
        self._futures: OrderedDict[object, Future[EncodedImage]] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    def submit(self, image: Image) -> Future[EncodedImage]:
        """The future of the encoded image, whose `image_id` is empty: images of several ids may share it."""
        key = image.path if image.path is not None else hashlib.sha256(image.data or b"").digest()
        if key in self._futures:
            self._futures.move_to_end(key)
        else:
            self._forget_oldest()
            self._futures[key] = self._executor.submit(encode_image, image, self._settings)
            self._futures[key].add_done_callback(self._weigh)
        return self._futures[key]

    def _weigh(self, future: Future[EncodedImage]) -> None:
        with self._lock:  # a pool calls this from its own thread
            self._num_bytes += _size_bytes(future)

    def _forget_oldest(self) -> None:
        while self._num_bytes > REMEMBERED_BYTES:
            future = next(iter(self._futures.values()))
            if not future.done():
                return
            self._futures.popitem(last=False)
            with self._lock:
                self._num_bytes -= _size_bytes(future)


def _size_bytes(future: Future[EncodedImage]) -> int:
    return BROKEN_BYTES if future.cancelled() or future.exception() else len(future.result().data)
