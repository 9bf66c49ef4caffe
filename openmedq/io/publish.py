"""Outputs appear whole or not at all, and never have two writers."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openmedq.layout import PARTIAL

_log = logging.getLogger(__name__)


@contextmanager
def publish(target: Path) -> Iterator[Path]:
    """Give a path to write `target` to, aside; on success it takes the place of `target`, on failure it goes.

    A writer that was killed leaves its aside to the next one, which removes it. A writer that still runs
    (its `dvc` was killed, it was not) is waited for: a lock that dies with its process keeps others out.
    """
    with exclusive(target):
        aside = PARTIAL / _name(target)
        remove(aside)
        try:
            yield aside
        except BaseException:
            remove(aside)
            raise
        target.parent.mkdir(parents=True, exist_ok=True)
        remove(target)
        aside.replace(target)


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
        with path.open("a") as file:
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
