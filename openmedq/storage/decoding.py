"""Pictures decoded by an executor: each one once for all the questions that show it, results in the order asked for.

Any `concurrent.futures.Executor` will do: none but this process, a pool of processes, a cluster's. How a picture is
decoded is `io/images.py`'s business.
"""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from openmedq.schema import EncodedImage, Image, Reason
from openmedq.storage.images import BrokenPicture, encode
from openmedq.storage.processes import be_worker

if TYPE_CHECKING:
    from openmedq.config import Normalize

_ABSENT = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)  # the last one of a link to itself
REMEMBERED_BYTES = 256 * 2**20  # of encoded pictures
BROKEN_BYTES = 2**12  # what is wrong with one, in words


class Inline(Executor):
    """Runs what is submitted at once, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BrokenPicture as problem:
            # Without its traceback and context, which would hold on to the picture's bytes.
            future.set_exception(BrokenPicture(problem.reason, problem.detail))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def open_executor(num_workers: int) -> Iterator[Executor]:
    """This process for one worker, else a pool of processes, which end when this one does, however it ends."""
    if num_workers == 1:
        yield Inline()
        return
    # Spawned, not forked: a fork would copy the lock of the output and threads of libraries in any state.
    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), initializer=be_worker)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def encode_image(image: Image, settings: Normalize) -> EncodedImage:
    """Read and encode a sample's picture; BrokenPicture where it can't be."""
    if image.path is None:
        return encode(image.data or b"", settings)
    try:
        published = image.path.read_bytes()
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        raise BrokenPicture(Reason.IMAGE_MISSING, f"no file {image.path.name}") from None
    return encode(published, settings)


class Decoder:
    """Hands pictures to an executor and remembers the latest results, so that a repeated one is decoded once."""

    def __init__(self, executor: Executor, settings: Normalize) -> None:
        self._executor = executor
        self._settings = settings
        self._futures: OrderedDict[object, Future[EncodedImage]] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    def submit(self, image: Image) -> Future[EncodedImage]:
        """Begin to decode, if that has not begun."""
        key = image.path if image.path is not None else hashlib.sha256(image.data or b"").digest()
        if key in self._futures:
            self._futures.move_to_end(key)
        else:
            self._forget_oldest()
            self._futures[key] = self._executor.submit(encode_image, image, self._settings)
            self._futures[key].add_done_callback(self._weigh)
        return self._futures[key]

    def _weigh(self, future: Future[EncodedImage]) -> None:
        with self._lock:  # a pool calls from a thread of its own
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
