"""One process per device: a stage starts itself again under torch's elastic launcher, which is what `torchrun` runs.

accelerate's launcher is no alternative: without a GPU it starts one process only, whatever number is asked for.

Exactly one error is printed, that of the process that failed first. Processes that fail write their line to the
launcher's error file (see `cli.py`), because the same fault can be found by all of them. Those that only lose the
connection to a failed one exit with TRY_AGAIN.
"""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from openmedq.config import Execution
from openmedq.errors import TRY_AGAIN
from openmedq.model.model import pick_device

CHECKPOINT_S = 600  # after SIGTERM, the time to write a checkpoint before the processes are killed


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
    for module in ("multiprocessing.api", "agent.server.api"):  # each logger has a level of its own
        logging.getLogger(f"torch.distributed.elastic.{module}").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // num)))
    with tempfile.TemporaryDirectory() as folder:
        config = LaunchConfig(
            1,
            1,
            num,
            DefaultLogsSpecs(folder),
            run_id=stage,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            shutdown_timeout=CHECKPOINT_S,
        )
        try:
            elastic_launch(config, sys.executable)("-m", "openmedq", stage)
        except ChildFailedError as error:
            return _report(stage, error.failures.values())
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            return 128 + int(error.sigval)
    return 0


def _report(stage: str, failures: Collection[ProcessFailure]) -> int:
    """Print the error of the process that failed first, and return its exit status."""
    causes = [failure for failure in failures if failure.exitcode not in (TRY_AGAIN, -signal.SIGTERM)]
    first = min(causes or failures, key=lambda failure: failure.timestamp)
    if first.exitcode < 0:
        name = signal.Signals(-first.exitcode).name
        reason = "; if memory ran out, lower train.micro_batch_size or execution.workers" if name == "SIGKILL" else ""
        print(f"error: {stage}: process {first.local_rank} was ended by {name}{reason}", file=sys.stderr)
        return 128 - first.exitcode
    if Path(first.error_file).exists():  # otherwise it has printed a stack trace
        print(first.message, file=sys.stderr)
    return first.exitcode


def as_member(run: Callable[..., None]) -> Callable[..., None]:
    """Return the `run` of a stage that may be one of several processes.

    Raises:
        ConnectionError: another process has ended or can't be reached.
    """

    def run_as_member(*arguments: Any) -> None:
        try:
            run(*arguments)
        except RuntimeError as error:
            if not _is_disconnection(error):
                raise
            raise ConnectionError(
                "another process of this stage has ended or can't be reached; see its error"
            ) from error
        if dist.is_initialized():
            dist.destroy_process_group()

    return run_as_member


def _is_disconnection(error: RuntimeError) -> bool:
    """Return whether torch's collective operations failed; gloo has no exception type of its own."""
    return isinstance(error, dist.DistError) or (dist.is_initialized() and "gloo" in str(error))
