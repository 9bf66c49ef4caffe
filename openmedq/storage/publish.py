"""Outputs appear whole or not at all, and never have two writers."""

from __future__ import annotations

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
    """Give a path to write `target` to, aside; on success it takes the place of `target`, on failure it goes.

    DiskFullError where the disk has no space for it, at once where its size is known; what was there before stays.

    A writer that was killed leaves its aside to the next one, which removes it. A writer that still runs
    (its `dvc` was killed, it was not) is waited for: a lock that dies with its process keeps others out.
    """
    with exclusive(target):
        aside, old = PARTIAL / _name(target), PARTIAL / f"{_name(target)}.old"
        remove(aside)
        try:
            if size_bytes and shutil.disk_usage(PARTIAL).free < size_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            yield aside
        except BaseException as error:
            remove(aside)
            if is_disk_full(error):
                raise _describe_full_disk(target, size_bytes) from None
            raise
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):  # out of the way at once: removing a large folder takes time, and may be cut short
            remove(old)
            target.replace(old)
        aside.replace(target)
        remove(old)


def is_disk_full(error: BaseException) -> bool:
    """Whether no space was left on a disk. Libraries in Rust and C++ tell it in words only."""
    if isinstance(error, OpenMedQError):
        return False
    errors = (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "errno", None) in errors or any(os.strerror(number) in str(error) for number in errors)


def _describe_full_disk(target: Path, size_bytes: int | None) -> DiskFullError:
    free = shutil.disk_usage(PARTIAL).free
    missing = f", {(size_bytes - free) / 1e6:,.1f} MB more are needed" if size_bytes and size_bytes > free else ""
    return DiskFullError(
        f"{target}: no space left on the disk of {PARTIAL.parent} ({free / 1e6:,.1f} MB free{missing}); free some and "
        "run the command again"
    )


def replace_text(path: Path, text: str) -> None:
    """Replace a text file whole, beside outputs: a few lines that git keeps."""
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


@contextmanager
def exclusive(target: Path) -> Iterator[None]:
    """Be the only process that writes `target`; wait for who does."""
    with _lock(PARTIAL / f"{_name(target)}.lock", target):
        yield


def _name(target: Path) -> str:
    return target.as_posix().strip("/").replace("/", "-")


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _lock(path: Path, target: Path) -> Iterator[None]:
    """Hold the file's lock; wait for who holds it.

    A POSIX record lock: worker processes do not inherit it, so an orphan of a pool can't hold it. It belongs to
    the process: threads of one process are not kept apart.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.warning(f"{target}: another process is writing it; waiting")
                fcntl.lockf(file, fcntl.LOCK_EX)
            if not _is_same(file.fileno(), path):  # the file was removed while we waited: others lock a new one
                continue
            yield
            return


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
