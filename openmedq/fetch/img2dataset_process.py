"""img2dataset in its own process, for `images`: `python -m openmedq.fetch.img2dataset_process ARGUMENTS`.

img2dataset handles Ctrl-C itself, prints progress, and starts a process that outlives a killed parent.
"""

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

from openmedq.storage.processes import die_with_parent


def distribute(_: int, download_shard: Callable[[Any], object], shards: Iterable[Any], *others: int) -> None:
    """Download the shards in this process: img2dataset waits for ever for a worker process that was killed."""
    for shard in shards:
        download_shard(shard)


if __name__ in ("__main__", "__mp_main__"):  # its process that writes statistics loads this module too
    die_with_parent()
    sys.modules["torch"] = None  # type: ignore[assignment]  # saves half: 1.3 of 2.6 s of CPU, 194 of 379 MB

if __name__ == "__main__":
    from img2dataset import download

    vars(sys.modules["img2dataset.main"])["multiprocessing_distributor"] = distribute
    download(**json.loads(sys.argv[1]))
