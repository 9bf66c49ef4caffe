"""How long the stages on a device took: data/timings/<node>.jsonl, a line for each attempt.

They are no DVC outputs, because times differ between runs that write the same bytes. A time belongs to the output whose
digest it has: after `dvc checkout`, the time is that of the attempt that has written the output, or unknown.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from openmedq import paths


@dataclass(frozen=True)
class Timing:
    """The time of a stage, interrupted attempts included."""

    seconds: float
    num_attempts: int
    device: str  # its name, as "NVIDIA H100" or "CPU"
    num_devices: int

    @property
    def device_hours(self) -> float:
        """Wall time times devices."""
        return self.seconds * self.num_devices / 3600


@contextmanager
def record(node: str, output: Path, device: str, num_devices: int) -> Iterator[None]:
    """Record the time of a block that writes `output`; an attempt that fails has no digest.

    The time of a process that is killed by SIGKILL is lost.
    """
    started, digest = time.monotonic(), None
    try:
        yield
        digest = _hash(output)
    finally:
        path = _path(node)
        path.parent.mkdir(parents=True, exist_ok=True)
        seconds = round(time.monotonic() - started, 1)
        line = {"seconds": seconds, "device": device, "num_devices": num_devices, "output": digest}
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(line)}\n")


def read(node: str, output: Path) -> Timing | None:
    """Return the time in which `output` was made, with the failed attempts just before; None if it is not recorded."""
    if not _path(node).exists() or (digest := _hash(output)) is None:
        return None
    attempts = [json.loads(line) for line in _path(node).read_text(encoding="utf-8").splitlines()]
    made = max((place for place, each in enumerate(attempts) if each["output"] == digest), default=None)
    if made is None:
        return None
    first = made
    while first and attempts[first - 1]["output"] is None:
        first -= 1
    seconds = sum(each["seconds"] for each in attempts[first : made + 1])
    return Timing(seconds, made + 1 - first, attempts[made]["device"], attempts[made]["num_devices"])


def _path(node: str) -> Path:
    return paths.TIMINGS / f"{node}.jsonl"


def _hash(output: Path) -> str | None:
    return hashlib.sha256(output.read_bytes()).hexdigest() if output.exists() else None
