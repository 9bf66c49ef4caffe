"""img2dataset in a process of its own, for `pictures`: `python -m openmedq.acquire.img2dataset_process ARGUMENTS`.

It takes Ctrl-C for itself, prints as it goes, and starts processes that wait for ever once their parent was killed.
"""

from __future__ import annotations

import json
import sys

from openmedq.io.processes import die_with_parent

if __name__ in ("__main__", "__mp_main__"):  # the processes that it starts load this module too
    die_with_parent()
    sys.modules["torch"] = None  # type: ignore[assignment]  # half of their time and memory, and of no use to them

if __name__ == "__main__":
    from img2dataset import download

    download(**json.loads(sys.argv[1]))
