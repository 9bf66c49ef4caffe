"""How long the stages on a device took: data/timings/<node>.json.

They are no DVC outputs, because times differ between runs that write the same bytes. A time belongs to the output whose
digest it has: after `dvc checkout` of another output, the time is unknown.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from openmedq import paths
from openmedq.storage.publish import replace_text


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
    """Record the time of a block that writes `output`, with those of the failed attempts just before.

    The time of a process that is killed by SIGKILL is lost.
    """
    started, digest = time.monotonic(), None
    path = paths.TIMINGS / f"{node}.json"
    before, of_output = _read(path)
    seconds, num_attempts = (before.seconds, before.num_attempts) if before and of_output is None else (0, 0)
    try:
        yield
        digest = _hash(output)
    finally:
        seconds = round(seconds + time.monotonic() - started, 1)
        timing = asdict(Timing(seconds, num_attempts + 1, device, num_devices))
        replace_text(path, json.dumps(timing | {"output": digest}))


def read(node: str, output: Path) -> Timing | None:
    """Return the time in which `output` was made; None if it is not recorded."""
    timing, digest = _read(paths.TIMINGS / f"{node}.json")
    return timing if digest == _hash(output) is not None else None


def _read(path: Path) -> tuple[Timing | None, str | None]:
    """The recorded time, and the digest of its output; nothing if the file is missing or damaged."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        digest = tree.pop("output")
        return Timing(**tree), digest
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None, None


def _hash(output: Path) -> str | None:
    return hashlib.sha256(output.read_bytes()).hexdigest() if output.exists() else None
