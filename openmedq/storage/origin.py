"""Manifests of published files: path, size and hash of each file, recorded where the files are, without copying them.

`data/manifest/<id>.json` and `data/raw/<id>/origin.json` are manifests.
"""

import hashlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from openmedq.errors import LocalFolderError, StaleError
from openmedq.storage.folders import walk

Kind = Literal["miniature", "mirror", "official", "local"]

RACY_NS = 2 * 10**9  # a file this new may change again within the resolution of its time stamp


@dataclass(frozen=True, slots=True)
class Entry:
    """One published file; `path` is relative to the dataset's folder, with forward slashes."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Origin:
    """The folder of a dataset's published files, or None with a `reason` if they are absent."""

    folder: Path | None = None
    origin: Kind | None = None
    files: tuple[Entry, ...] = ()
    reason: str | None = None

    @property
    def is_present(self) -> bool:
        """Whether there are files to read."""
        return self.folder is not None


def write(origin: Origin, path: Path) -> None:
    """Write a manifest as JSON, one line per file."""
    if not origin.is_present:
        tree = {"state": "absent"} | ({"reason": origin.reason} if origin.reason else {})
        path.write_text(json.dumps(tree) + "\n", encoding="ascii")
        return
    head = {"state": "present", "folder": str(origin.folder), "origin": origin.origin}
    lines = ",\n".join(f"  {json.dumps(asdict(entry))}" for entry in origin.files)
    text = f'{json.dumps(head).removesuffix("}")}, "files": [\n{lines}\n]}}\n'
    path.write_text(text, encoding="ascii")


def read(path: Path) -> Origin:
    """Read a manifest; StaleError if it is missing or damaged."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["state"] == "absent":
            return Origin(reason=tree.get("reason"))
        return Origin(Path(tree["folder"]), tree["origin"], tuple(Entry(**entry) for entry in tree["files"]))
    except FileNotFoundError:
        raise StaleError(f"{path}: not found; run `dvc repro`, which writes it") from None
    except (ValueError, KeyError, TypeError):
        raise StaleError(f"{path}: not a manifest; remove it and run `dvc repro`") from None


def check_sizes(origin: Origin) -> None:
    """Compare the recorded sizes with the files, without reading them; StaleError for the first that differs."""
    if origin.folder is None:
        return
    for entry in origin.files:
        path = origin.folder / entry.path
        try:
            size_bytes = path.stat().st_size
        except FileNotFoundError:
            raise StaleError(f"{path}: missing since it was listed; restore it, or run `dvc repro`") from None
        if size_bytes != entry.size_bytes:
            raise StaleError(f"{path}: changed since it was listed; run `dvc repro`")


def find_files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """Files below a folder, sorted, without hidden files and junk. Links are followed; each folder is visited once.

    LocalFolderError for a folder that cannot be listed, a broken link, or a special file.
    """
    try:
        paths = [inner / name for inner, _, names in walk(folder) for name in names if not name.startswith(".")]
    except OSError as error:
        raise LocalFolderError(f"{error.filename}: can't be listed ({error.strerror}); make it readable") from None
    files = []
    for path in sorted(paths):
        try:
            status = path.stat()
        except OSError as error:
            reason = "a link to nowhere; repair or remove it" if path.is_symlink() else error.strerror
            raise LocalFolderError(f"{path}: {reason}") from None
        if not stat.S_ISREG(status.st_mode):
            raise LocalFolderError(f"{path}: neither a file nor a folder; remove it")
        files.append((path, status))
    return files


def compute_md5(path: Path) -> str:
    """The md5 of a file, for hosts and lists without a better hash; LocalFolderError if it cannot be read."""
    return _read_hash(path, "md5")[0]


def _read_hash(path: Path, algorithm: str) -> tuple[str, os.stat_result]:
    """The file's hash, and its status after it was read."""
    try:
        with path.open("rb") as file:
            new = partial(hashlib.new, algorithm, usedforsecurity=False)
            return hashlib.file_digest(file, new).hexdigest(), os.fstat(file.fileno())
    except OSError as error:
        raise LocalFolderError(f"{path}: can't be read ({error.strerror}); make it readable or remove it") from None


class Hashes:
    """Cached sha256, by path, size, modification time and inode, so that only changed files are read."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, path: Path, status: os.stat_result) -> str | None:
        """The cached hash of the file, or None if it is not cached or the file changed."""
        query = "SELECT stamp, sha256 FROM hashes WHERE path = ?"
        found = self._connection.execute(query, (_key(path),)).fetchone()
        return found[1] if found and found[0] == _stamp(status) else None

    def compute(self, path: Path, status: os.stat_result) -> str:
        """Read and hash the file; LocalFolderError if it cannot be read or changes meanwhile."""
        value, after = _read_hash(path, "sha256")
        if _stamp(after) != _stamp(status):
            raise LocalFolderError(
                f"{path}: changed while it was read; wait until it is copied, then run the command again"
            )
        if time.time_ns() - status.st_mtime_ns > RACY_NS:
            self.put(path, status, value)
        return value

    def put(self, path: Path, status: os.stat_result, value: str) -> None:
        """Cache the hash of a complete file; on a full disk it is computed again later."""
        with suppress(sqlite3.OperationalError):
            row = (_key(path), _stamp(status), value)
            self._connection.execute("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", row)


@contextmanager
def open_hashes(path: Path) -> Iterator[Hashes]:
    """Open the hash cache, a SQLite file. A damaged file is deleted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = _connect(path)
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)
        connection = _connect(path)
    with closing(connection):
        yield Hashes(connection)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)  # each hash is written at once: others may wait for it
    try:
        for pragma in ("synchronous = OFF", "journal_mode = MEMORY"):  # lost hashes are computed again
            connection.execute(f"PRAGMA {pragma}")
        columns = "path BLOB PRIMARY KEY, stamp TEXT, sha256 TEXT"
        connection.execute(f"CREATE TABLE IF NOT EXISTS hashes ({columns}) WITHOUT ROWID")
        # Reads every page: half a second for 300 MB.
        if connection.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
            raise sqlite3.DatabaseError
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _key(path: Path) -> bytes:
    return os.fsencode(os.path.join(os.getcwd(), path))  # noqa: PTH109, PTH118  1.3 µs; `Path.absolute` takes 8


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
