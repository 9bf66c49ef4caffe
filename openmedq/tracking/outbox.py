"""What a stage has to send to its run: in memory for seconds, in a file while the store does not answer.

The file is data/.partial/runs/<key of the run>.<stage>, one JSON object a line. The stage locks it. The lock ends with
the process, also if the process is killed, so an unlocked file marks a run without a process: the next stage sends what
the file holds and closes the run. Sending an operation twice has the effect of sending it once. The files are in the
project: runs of other projects are not touched.
"""

import fcntl
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from openmedq import paths

Operation = dict[str, Any]  # JSON; `kind` names a method of `sending.Sender`, the rest are its arguments

CHUNK_SIZE = 1000  # operations in memory while a file is sent
FIRST_WAIT_S = 5.0  # after an error of the store; each further error doubles it
MAX_WAIT_S = 300.0
FOLDER = paths.PARTIAL / "runs"


class Outbox:
    """The operations of one stage, in order, and their file."""

    def __init__(self, root: Path, stage: str) -> None:
        self.stage = stage
        self._folder = root / FOLDER
        self._path: Path | None = None
        self._file: IO[str] | None = None
        self._queue: list[Operation] = []
        self._wait_s, self._retry_at = FIRST_WAIT_S, 0.0

    @property
    def key(self) -> str:
        """The key of the run that the file is named after."""
        assert self._path is not None
        return self._path.stem

    def open(self, key: str) -> None:
        """Create and lock the file of a run. What an earlier process left in it is kept."""
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        path, temporary = self._folder / f"{key}.{self.stage}", self._folder / f".{key}.{self.stage}"
        self._file = temporary.open("w+", encoding="utf-8")
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        if path.exists():
            self._file.write(f"{path.read_text(encoding='utf-8')}\n")
            self._file.flush()
        self._path = temporary.replace(path)  # never visible without its lock

    def add(self, kind: str, **fields: Any) -> None:
        """Append an operation. It is sent by the next `flush`."""
        self._queue.append({"kind": kind, **fields})

    def flush(self, send: Callable[[Sequence[Operation]], None]) -> bool:
        """Send everything; if `send` raises, write it to the file. Return whether everything was sent.

        After an error there is a pause, in which operations go to the file without another attempt.
        """
        if time.monotonic() < self._retry_at:
            self.keep()
            return False
        try:
            self._send(send)
        except Exception:
            self._retry_at = time.monotonic() + self._wait_s
            self._wait_s = min(2 * self._wait_s, MAX_WAIT_S)
            self.keep()
            raise
        self._wait_s = FIRST_WAIT_S
        return True

    def end_pause(self) -> None:
        """Let the next `flush` make an attempt."""
        self._retry_at = 0.0

    def keep(self) -> None:
        """Write the operations to the file, in case that the process is killed."""
        if self._queue and self._file is not None:
            self._file.seek(0, 2)
            self._file.write("".join(f"{json.dumps(operation)}\n" for operation in self._queue))
            self._file.flush()
            self._queue.clear()

    def remove(self) -> None:
        """Remove the file, because the run was closed."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock. On a full disk, what is in the file's buffer is lost."""
        with suppress(OSError):
            if self._file is not None:
                self._file.close()

    def _send(self, send: Callable[[Sequence[Operation]], None]) -> None:
        if self._file is not None:
            for operations in _read(self._file):
                send(operations)
            self._file.seek(0)
            self._file.truncate()
        while self._queue:
            send(self._queue[:CHUNK_SIZE])
            del self._queue[:CHUNK_SIZE]

    def lock(self, path: Path) -> bool:
        """Take over the file of a dead process; False if its process lives, or another one took it over."""
        try:
            file = path.open("r+", encoding="utf-8")
        except FileNotFoundError:
            return False
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._path, self._file = path, file
        return True


def find_left(root: Path) -> tuple[list[Outbox], set[str]]:
    """Return the outboxes of dead processes, locked, and the keys of the runs of living processes."""
    left, alive = [], set()
    for path in sorted((root / FOLDER).glob("[!.]*.*")):
        outbox = Outbox(root, path.suffix[1:])
        if outbox.lock(path):
            left.append(outbox)
        else:
            alive.add(path.stem)
    return left, alive


def _read(file: IO[str]) -> Iterator[list[Operation]]:
    """Yield the operations of a file; a line that a killed process did not complete is left out."""
    file.seek(0)
    while lines := list(itertools.islice(file, CHUNK_SIZE)):
        operations = []
        for line in lines:
            with suppress(ValueError):
                operations.append(json.loads(line))
        yield operations
