"""`small_disk`: a folder on a small disk in memory, for commands run by `wrap`; it needs no privileges.

The disk is in its own mount namespace: the test itself does not see it, and reads it by commands too.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_HOLD = 'mount -t tmpfs -o "size=$1" small "$2" && echo ready && read -r _'


@dataclass(frozen=True)
class SmallDisk:
    """The disk at `folder`, in the namespace of the process `pid`."""

    folder: Path
    pid: int

    def wrap(self, command: list[str]) -> list[str]:
        """The command that runs `command` in the namespace of the disk."""
        target = ["nsenter", "--target", str(self.pid), "--user", "--mount", "--preserve-credentials"]
        # nsenter's own --wd is opened before it enters, and would not see the disk below it.
        return [*target, "sh", "-c", 'cd "$0" && exec "$@"', str(Path.cwd()), *command]

    def grow(self, size_bytes: int) -> None:
        """Enlarge the disk."""
        command = ["mount", "-o", f"remount,size={size_bytes}", str(self.folder)]
        subprocess.run(self.wrap(command), check=True, capture_output=True)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """A disk of `size_bytes` at `folder`; skips the test if the machine allows no namespaces."""
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        pytest.skip("unshare and nsenter are missing")
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _HOLD, "sh", str(size_bytes), str(folder)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as holder:
        assert holder.stdin and holder.stdout and holder.stderr
        try:
            if holder.stdout.readline() != "ready\n":
                pytest.skip(f"no mount namespace: {holder.stderr.read().strip()}")
            yield SmallDisk(folder, holder.pid)
        finally:
            holder.stdin.close()
