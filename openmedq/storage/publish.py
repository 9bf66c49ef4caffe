"""Atomic outputs: an output appears whole or not at all, and has one writer at a time."""

import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openmedq.errors import DiskFullError, OpenMedQError
from openmedq.paths import PARTIAL

_log = logging.getLogger(__name__)


@contextmanager
def publish(target: Path, size_bytes: int | None = None) -> Iterator[Path]:
    """Yield a temporary path for writing `target`; on success it replaces `target`, on failure it is removed.

    A process that was killed leaves its temporary path; the next writer removes it. If another process writes the
    target (its `dvc` was killed, it was not), this one waits for it.

    Raises:
        DiskFullError: the disk is full, or has less than `size_bytes` free at the start. The old `target` is kept.
    """
    temporary, old = PARTIAL / _name(target), PARTIAL / f"{_name(target)}.old"
    with exclusive(target):
        with _writing(temporary, target, PARTIAL.parent, size_bytes):
            if size_bytes and shutil.disk_usage(PARTIAL).free < size_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            yield temporary
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if os.path.lexists(target):  # renamed first: removing a large folder takes time and may be interrupted
                remove(old)
                target.replace(old)
            temporary.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with replacing(target) as copy:  # it is on another disk, as behind a link data/checkpoints
                shutil.move(temporary, copy)
                remove(target)
        remove(old)


@contextmanager
def _writing(temporary: Path, target: Path, place: Path, size_bytes: int | None = None) -> Iterator[None]:
    """Remove `temporary` before a block that writes it, and if the block fails; a full disk is that of `place`."""
    remove(temporary)
    try:
        yield
    except BaseException as error:
        remove(temporary)
        if not is_disk_full(error):
            raise
        free = shutil.disk_usage(place).free
        missing = f", {(size_bytes - free) / 1e6:,.1f} MB more are needed" if size_bytes and size_bytes > free else ""
        raise DiskFullError(
            f"{target}: no space left on the disk of {place} ({free / 1e6:,.1f} MB free{missing}); free some "
            "space and run the command again"
        ) from None


def is_disk_full(error: BaseException) -> bool:
    """Whether the error means a full disk. SQLite and libraries in Rust and C++ state it only in the message."""
    if isinstance(error, OpenMedQError):
        return False
    errors = (errno.ENOSPC, errno.EDQUOT)
    messages = ("database or disk is full", *map(os.strerror, errors))
    return getattr(error, "errno", None) in errors or any(message in str(error) for message in messages)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path`, which replaces it at the end: no reader sees it incomplete. Makes its folder.

    Raises:
        DiskFullError: the disk is full.
    """
    temporary = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _writing(temporary, path, path.parent):
        yield temporary
        temporary.replace(path)


def replace_text(path: Path, text: str) -> None:
    """Replace a small text file that git tracks, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def exclusive(target: Path) -> Iterator[None]:
    """Hold the lock of `target`; wait while another process holds it.

    It is a POSIX record lock: worker processes do not inherit it, so an orphan of a pool cannot hold it. It does not
    separate the threads of a process.
    """
    PARTIAL.mkdir(parents=True, exist_ok=True)
    with (PARTIAL / f"{_name(target)}.lock").open("ab") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning(f"{target}: another process is writing it; waiting")
            fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def _name(target: Path) -> str:
    return target.as_posix().strip("/").replace("/", "-")


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
