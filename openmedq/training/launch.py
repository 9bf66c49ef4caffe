"""One process per device: a stage starts itself again under torch's launcher (what `torchrun` runs)."""

from __future__ import annotations

import logging
import os
import sys

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from openmedq.config import Execution
from openmedq.model.model import pick_device


def count_devices(execution: Execution) -> int:
    """Return how many processes to start: `execution.devices`, or one per GPU; 1 if a launcher started this one."""
    if "WORLD_SIZE" in os.environ:
        return 1
    if execution.devices != "auto":
        return execution.devices
    return torch.cuda.device_count() if pick_device(execution.device).type == "cuda" else 1


def launch(stage: str, num: int) -> int:
    """Run the stage in `num` processes on this machine; return its exit status.

    If one of them fails, the others are ended. SIGTERM goes on to the processes, which save a checkpoint.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # each process has its own one-line error
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // num)))
    config = LaunchConfig(1, 1, num, run_id=stage, rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0)
    try:
        elastic_launch(config, sys.executable)("-m", "openmedq", stage)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return abs(failure.exitcode)
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0
