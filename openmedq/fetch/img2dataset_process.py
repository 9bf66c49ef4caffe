"""img2dataset in a process of its own, for `pictures`: `python -m openmedq.fetch.img2dataset_process ARGUMENTS`.

It takes Ctrl-C for itself, prints as it goes, and starts processes that wait for ever once their parent was killed; and
for a server that sends a byte now and then.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from openmedq.storage.processes import die_with_parent

NUM_TIMEOUTS = 4  # that a picture may take as a whole: img2dataset's own bounds the wait for each byte

Row = tuple[int, str]  # number and address
Answer = tuple[int, Any, str | None]  # number, and what came or why it did not
Download = Callable[..., Answer]


def bound(download: Download) -> Download:
    """The same download of a row, given up once it takes too long. A thread that is left behind ends with its process.

    It is bounded from without since headers can drip too, and the look-up of a name can hang.
    """

    def download_in_time(row: Row, timeout: float, *others: Any) -> Answer:
        answer: SimpleQueue[Answer] = SimpleQueue()
        Thread(target=lambda: answer.put(download(row, timeout, *others)), daemon=True).start()
        try:
            return answer.get(timeout=NUM_TIMEOUTS * timeout)
        except Empty:
            return row[0], None, "took too long"

    return download_in_time


if __name__ in ("__main__", "__mp_main__"):  # the processes that it starts load this module too
    die_with_parent()
    sys.modules["torch"] = None  # type: ignore[assignment]  # half of their time and memory, and of no use to them

    from img2dataset import downloader

    downloader.download_image = bound(downloader.download_image)

if __name__ == "__main__":
    from img2dataset import download

    download(**json.loads(sys.argv[1]))
