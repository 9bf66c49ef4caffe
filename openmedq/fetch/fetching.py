"""All files of a set: what is missing is fetched, several at once; what is here is held to its hash."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from yarl import URL

from openmedq import paths
from openmedq.config import Download, Execution
from openmedq.datasets.card import Access, Card, Dataset, File
from openmedq.errors import AccessError, AcquisitionError, OpenMedQError, PassingError, StaleError
from openmedq.fetch import ledger, linked, needs, promise
from openmedq.fetch.client import LATER, Client, patiently
from openmedq.fetch.hosts import figshare, hub, zenodo
from openmedq.fetch.transfer import Advance, transfer
from openmedq.storage import origin
from openmedq.storage.progress import progress

_log = logging.getLogger(__name__)

HASHES = paths.PARTIAL / "fetch-cache"
REPLACED = paths.PARTIAL / "replaced"  # what somebody put in a file's place
NUM_TOLD = 3  # failures that a summary names
MAX_FAILURES = 50  # after as many, a host is not asked for the other 300,000 pictures


def fetch(set_: Dataset, dials: Download, execution: Execution) -> origin.Origin:
    """Fetch a set's files, of the edition that the dials name, into data/raw/<id>/files: where they lie, and hashes.

    Raises:
        PassingError: some could not be had now, and nothing else is wrong; what came is kept.
        AcquisitionError: some can't be had, or the disk has no room.
        ChecksumError: some are not what is promised or recorded.
    """
    with origin.open_hashes(HASHES) as hashes:
        work = _Work(needs.choose(set_.card, dials), execution, hashes)
        asyncio.run(work.fetch(set_))
        links = getattr(set_, "linked_pictures", None)
        if links is not None:
            work.record_linked(linked.fetch(set_.card.id, links(work.folder), dials.max_missing, execution))
    _refuse_strays(work.folder, set(work.entries))
    if work.num_fetched:
        _log.info(f"{set_.card.id}: {_tell(work.num_fetched, work.num_bytes, work.seconds)}")
    return origin.Origin(work.folder, "official", tuple(work.entries[path] for path in sorted(work.entries)))


@dataclass
class _Work:
    """One fetch of a set: what is done, what failed."""

    card: Card
    execution: Execution
    hashes: origin.Hashes
    entries: dict[str, origin.Entry] = field(default_factory=dict)  # by path
    failures: list[OpenMedQError] = field(default_factory=list)
    num_fetched: int = 0
    num_bytes: int = 0
    seconds: float = 0.0

    @cached_property
    def folder(self) -> Path:
        return needs.folder_of(self.card.id)

    @property
    def is_given_up(self) -> bool:
        """Whether more files are not worth asking for: nobody is let in, or too many failed."""
        is_shut = self.card.access in (Access.CREDENTIALED, Access.REGISTRATION)
        return len(self.failures) >= MAX_FAILURES or (
            is_shut and any(isinstance(e, AccessError) for e in self.failures)
        )

    async def fetch(self, set_: Dataset) -> None:
        """The card's files, then those that they name."""
        start = time.monotonic()
        async with Client(self.execution) as client:
            await self._fetch_listed(client)
            more = getattr(set_, "more_files", None)
            if more is not None:
                await self._fetch_more(client, more(self.folder))
        self.seconds = time.monotonic() - start

    def record_linked(self, paths: list[Path]) -> None:
        """Take what holds linked pictures into the manifest; the ledger has none of it: it comes in any order."""
        for path in paths:
            status = path.stat()
            sha256 = self.hashes.get(path, status) or self.hashes.compute(path, status)
            entry = origin.Entry(path.relative_to(self.folder).as_posix(), status.st_size, sha256)
            self.entries[entry.path] = entry

    async def _fetch_listed(self, client: Client) -> None:
        recorded = dict(ledger.read(self.card.id))
        files = needs.known(self.card.files, recorded)
        asked = [file for file in files if not self._take(file, recorded)]
        if not asked:
            return
        described = await describe(client, self.card.id, asked)
        missing = [file for file in described if not self._take(file, recorded, is_described=True)]
        if not missing:
            return
        self._set_aside(file for file in missing if file.path not in recorded)
        if self.card.terms:
            _log.info(f"{self.card.title}: its terms of use\n{self.card.terms}")
        if self.card.advice and self.card.access is Access.OPEN:
            _log.info(f"{self.card.title}: {self.card.advice}")
        self._check_room(missing)
        sizes = [file.size_bytes or file.about_bytes for file in missing]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        with progress(f"fetching {self.card.id}", total, is_bytes=True) as advance:
            await self._transfer_all(client, iter(missing), advance, recorded)
        self._raise_failures(len(missing))

    def _take(self, file: File, recorded: dict[str, ledger.Entry], *, is_described: bool = False) -> bool:
        """Whether the file is here and right; what nobody has pinned or recorded, by what its host states of it."""
        known = recorded.get(file.path)
        if not (known or file.sha256 or file.md5 or is_described):
            return False
        entry = self._find(file, known)
        if entry is not None:
            self._record(file, entry, recorded)
        return entry is not None

    def _set_aside(self, files: Iterable[File]) -> None:
        """Keep what lies in the place of files, and is none of them: someone put it there."""
        for file in files:
            if kept := set_aside(self.card.id, file.path):
                path = self.folder / file.path
                _log.warning(f"{path}: not the published file, which is fetched; kept as {kept}")

    async def _fetch_more(self, client: Client, files: Iterator[File]) -> None:
        """Files that the first ones name, or name again with a hash. It comes with them: the ledger needs no entry."""
        num_seen = 0

        def missing() -> Iterator[File]:
            nonlocal num_seen
            for file in files:
                num_seen += 1
                entry = self._find(file, None)
                if entry is None:
                    yield file
                else:
                    self.entries[entry.path] = entry

        with progress(f"fetching pictures of {self.card.id}", None, is_bytes=True) as advance:
            await self._transfer_all(client, missing(), advance, None)
        self._raise_failures(num_seen)

    async def _transfer_all(
        self, client: Client, files: Iterator[File], advance: Advance, recorded: dict[str, ledger.Entry] | None
    ) -> None:
        """Fetch the files, `execution.connections` at once; one that fails leaves the others alone."""

        async def work() -> None:
            for file in files:  # shared by all workers
                if self.is_given_up:
                    return
                try:
                    await self._transfer(client, file, advance, recorded)
                except OpenMedQError as error:
                    is_named = recorded is not None or not self.card.is_credentialed
                    self.failures.append(error if is_named else _veil(error, file))

        workers = [asyncio.ensure_future(work()) for _ in range(self.execution.connections)]
        try:
            await asyncio.gather(*workers)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise AcquisitionError(f"{self.folder}: the disk is full; make room and go on, what came is kept") from None
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _transfer(
        self, client: Client, file: File, advance: Advance, recorded: dict[str, ledger.Entry] | None
    ) -> None:
        target, aside = self.folder / file.path, needs.aside_of(self.card.id, file)

        def hold_to_ledger(sha256: str, size_bytes: int) -> None:
            if recorded is not None and file.is_stable:
                found = ledger.Entry(file.url, sha256, size_bytes)
                ledger.check(self.card.id, file.path, found, recorded)

        sha256, size_bytes = await transfer(client, file, target, aside, advance, hold_to_ledger)
        self.hashes.put(target, target.stat(), sha256)
        self.num_fetched += 1
        self.num_bytes += size_bytes
        self._record(file, origin.Entry(file.path, size_bytes, sha256), recorded)

    def _find(self, file: File, entry: ledger.Entry | None) -> origin.Entry | None:
        """The file, if it is here and is what is promised and recorded."""
        path = self.folder / file.path
        if not path.is_file():
            return None
        status = path.stat()
        sha256 = self.hashes.get(path, status) or self.hashes.compute(path, status)
        promised = {file.sha256, entry.sha256 if entry else None} - {None}
        is_it = promised <= {sha256}
        if not promised:  # nor was it recorded: someone put it there
            low, high = promise.size_bounds(file)
            is_it = low <= status.st_size <= high and (file.md5 is None or file.md5 == origin.compute_md5(path))
            is_it = is_it and promise.is_whole(file, path)
        return origin.Entry(file.path, status.st_size, sha256) if is_it else None

    def _record(self, file: File, entry: origin.Entry, recorded: dict[str, ledger.Entry] | None) -> None:
        """Take the file into the manifest and, at its first download, into the ledger."""
        self.entries[entry.path] = entry
        if recorded is not None and file.is_stable and file.path not in recorded:
            recorded[file.path] = ledger.Entry(file.url, entry.sha256, entry.size_bytes)
            ledger.write(self.card.id, recorded)

    def _check_room(self, files: list[File]) -> None:
        """AcquisitionError where the disk has no room for what is to come."""
        needed = sum(file.size_bytes or file.about_bytes or 0 for file in files)
        needed -= sum(aside.stat().st_size for file in files if (aside := needs.aside_of(self.card.id, file)).is_file())
        needs.check_room(self.card.id, needed)

    def _raise_failures(self, num_files: int) -> None:
        """One error for all files that failed; it may pass only where each of them may."""
        failures = self.failures
        if not failures:
            return
        kind = PassingError if all(isinstance(error, PassingError) for error in failures) else AcquisitionError
        if len(failures) == 1:
            raise failures[0]
        later = LATER if any(isinstance(error, PassingError) for error in failures) else ""
        given_up = " failed, and no more were tried" if self.is_given_up else " failed"
        told = "; ".join(str(error).removesuffix(LATER) for error in failures[:NUM_TOLD])
        rest = f"; and {len(failures) - NUM_TOLD} more" if len(failures) > NUM_TOLD else ""
        raise kind(f"{self.card.id}: {len(failures)} of {num_files} files{given_up}: {told}{rest}{later}")


def set_aside(set_id: str, name: str) -> Path | None:
    """Move a fetched file out of the way, so that it is fetched anew; where it is kept, None where there is no file."""
    path, kept = needs.folder_of(set_id) / name, REPLACED / set_id / name
    if not path.is_file():
        return None
    kept.parent.mkdir(parents=True, exist_ok=True)
    path.replace(kept)
    return kept


async def describe(client: Client, set_id: str, files: list[File]) -> list[File]:
    """The files with what their hosts state of them before they are fetched: commits, sizes, hashes."""
    files = await zenodo.describe(client, await figshare.describe(client, files))

    async def attempt() -> list[File]:  # but one: the hub's library tries again by itself
        return await hub.describe(client, files)

    return await patiently(attempt, client.execution.model_copy(update={"attempts": 1}), set_id)


def _refuse_strays(folder: Path, wanted: set[str]) -> None:
    """StaleError where a file lies among the fetched ones that the set does not have: it would be read."""
    for path, _ in origin.find_files(folder):
        if path.relative_to(folder).as_posix() not in wanted:
            raise StaleError(f"{path}: not a file of this set (any more); remove it, or move it elsewhere")


def _veil(error: OpenMedQError, file: File) -> OpenMedQError:
    """The error of a credentialed set's picture, whose name and address hold patients' ids, without them."""
    host = URL(file.url).host or ""
    return type(error)(re.sub(r"https?://[^\s:]+", host, str(error)).replace(file.path, "a picture"))


def _tell(num_files: int, num_bytes: int, seconds: float) -> str:
    files = "1 file" if num_files == 1 else f"{num_files:,} files"
    return f"{files}, {num_bytes / 1e6:,.1f} MB in {seconds:.1f} s"
