"""img2dataset in its own process, for `images`: `python -m openmedq.fetch.img2dataset_process ARGUMENTS`.

img2dataset handles Ctrl-C itself, prints progress, starts a process that outlives a killed parent, and sets no limit on
the total time of a download: a server that sends a byte now and then would block it.
"""

import json
import sys
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from openmedq.storage.processes import die_with_parent

NUM_TIMEOUTS = 4  # limit for an image as a whole: img2dataset's timeout is for each byte

Row = tuple[int, str]  # number and address
Answer = tuple[int, Any, str | None]  # number, data or None, error or None
Download = Callable[..., Answer]


def limit_time(download: Download) -> Download:
    """Wrap a download, so that it is given up after `NUM_TIMEOUTS` timeouts; its thread ends with the process.

    Only a limit from outside covers slow headers and name lookup too.
    """

    def download_in_time(row: Row, timeout: float, *others: Any) -> Answer:
        answer: SimpleQueue[Answer] = SimpleQueue()
        Thread(target=lambda: answer.put(download(row, timeout, *others)), daemon=True).start()
        try:
            return answer.get(timeout=NUM_TIMEOUTS * timeout)
        except Empty:
            return row[0], None, "took too long"

    return download_in_time


def distribute(_: int, download_shard: Callable[[Any], object], shards: Iterable[Any], *others: int) -> None:
    """Download the shards in this process: img2dataset waits for ever for a worker process that was killed."""
    for shard in shards:
        download_shard(shard)


if __name__ in ("__main__", "__mp_main__"):  # its process that writes statistics loads this module too
    die_with_parent()
    sys.modules["torch"] = None  # type: ignore[assignment]  # saves half: 1.3 of 2.6 s of CPU, 194 of 379 MB

if __name__ == "__main__":
    from img2dataset import download, downloader

    downloader.download_image = limit_time(downloader.download_image)
    vars(sys.modules["img2dataset.main"])["multiprocessing_distributor"] = distribute
    download(**json.loads(sys.argv[1]))
