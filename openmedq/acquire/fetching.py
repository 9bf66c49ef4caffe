"""All files of a set: what is missing is fetched, several at once; what is here is held to its hash."""

from __future__ import annotations

import asyncio
import errno
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from openmedq import layout
from openmedq.acquire import hub, ledger, needs
from openmedq.acquire.client import Client, patiently
from openmedq.acquire.credentials import HUB
from openmedq.acquire.transfer import Advance, transfer
from openmedq.cards import Card, File, Set
from openmedq.errors import AcquisitionError, OpenMedQError, PassingError
from openmedq.io import origin
from openmedq.io.progress import progress
from openmedq.params import Execution

HASHES = layout.PARTIAL / "fetch-cache"
NUM_TOLD = 5  # failures that a summary names


def fetch(set_: Set, execution: Execution) -> origin.Origin:
    """Fetch a set's files into data/raw/<id>/files; where they lie, with their hashes.

    Raises:
        PassingError: some could not be had now, and nothing else is wrong; what came is kept.
        AcquisitionError: some can't be had, or the disk has no room.
        ChecksumError: some are not what is promised or recorded.
    """
    with origin.open_hashes(HASHES) as hashes:
        work = _Work(set_.card, execution, hashes)
        asyncio.run(work.fetch(set_))
    _refuse_strays(work.folder, {entry.path for entry in work.entries})
    if work.num_fetched:
        print(f"{set_.card.id}: {work.num_fetched} files, {_tell(work.num_bytes, work.seconds)}", file=sys.stderr)
    return origin.Origin(work.folder, "official", tuple(sorted(work.entries, key=lambda entry: entry.path)))


@dataclass
class _Work:
    """One fetch of a set: what is done, what failed."""

    card: Card
    execution: Execution
    hashes: origin.Hashes
    entries: list[origin.Entry] = field(default_factory=list)
    failures: list[OpenMedQError] = field(default_factory=list)
    num_fetched: int = 0
    num_bytes: int = 0
    seconds: float = 0.0

    @cached_property
    def folder(self) -> Path:
        return needs.folder_of(self.card.id)

    async def fetch(self, set_: Set) -> None:
        """The card's files, then those that they name."""
        start = time.monotonic()
        async with Client(self.execution) as client:
            await self._fetch_listed(client)
            more = getattr(set_, "more_files", None)
            if more is not None:
                await self._fetch_more(client, more(self.folder))
        self.seconds = time.monotonic() - start

    async def _fetch_listed(self, client: Client) -> None:
        recorded = dict(ledger.read(self.card.id))
        missing = []
        for file in needs.known(self.card.id, self.card.files, recorded):
            entry = self._find(file, recorded.get(file.path))
            if entry is None:
                missing.append(file)
            else:
                self._record(file, entry, recorded)
        if not missing:
            return
        if self.card.terms:
            print(f"{self.card.title}: its terms of use\n{self.card.terms}", file=sys.stderr, flush=True)
        missing = await describe(client, self.card.id, missing)
        self._check_room(missing)
        sizes = [file.size_bytes or file.about_bytes for file in missing]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        with progress(f"fetching {self.card.id}", total, is_bytes=True) as advance:
            await self._transfer_all(client, iter(missing), advance, recorded)
        self._raise_failures(len(missing))

    async def _fetch_more(self, client: Client, files: Iterator[File]) -> None:
        """Files that the first ones name. Their hashes come with them, so that the ledger needs no entry."""
        num_seen = 0

        def missing() -> Iterator[File]:
            nonlocal num_seen
            for file in files:
                num_seen += 1
                entry = self._find(file, None)
                if entry is None:
                    yield file
                else:
                    self.entries.append(entry)

        with progress(f"fetching pictures of {self.card.id}", None, is_bytes=True) as advance:
            await self._transfer_all(client, missing(), advance, None)
        self._raise_failures(num_seen)

    async def _transfer_all(
        self, client: Client, files: Iterator[File], advance: Advance, recorded: dict[str, ledger.Entry] | None
    ) -> None:
        """Fetch the files, `execution.connections` at once; one that fails leaves the others alone."""

        async def work() -> None:
            for file in files:  # shared by all workers
                try:
                    await self._transfer(client, file, advance, recorded)
                except OpenMedQError as error:
                    self.failures.append(error)

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
        return origin.Entry(file.path, status.st_size, sha256) if promised <= {sha256} else None

    def _record(self, file: File, entry: origin.Entry, recorded: dict[str, ledger.Entry] | None) -> None:
        """Take the file into the manifest and, at its first download, into the ledger."""
        self.entries.append(entry)
        if recorded is not None and file.is_stable and file.path not in recorded:
            recorded[file.path] = ledger.Entry(file.url, entry.sha256, entry.size_bytes)
            ledger.write(self.card.id, recorded)

    def _check_room(self, files: list[File]) -> None:
        """AcquisitionError where the disk has no room for what is to come."""
        layout.RAW.mkdir(parents=True, exist_ok=True)
        needed = sum(file.size_bytes or file.about_bytes or 0 for file in files)
        needed -= sum(aside.stat().st_size for file in files if (aside := needs.aside_of(self.card.id, file)).is_file())
        free = shutil.disk_usage(layout.RAW).free
        if needed > free:
            raise AcquisitionError(
                f"{layout.RAW}: {free / 1e9:.1f} GB are free, {self.card.id} takes {needed / 1e9:.1f} GB; make room, "
                f"or leave it out (download.skip: [{self.card.id}])"
            )

    def _raise_failures(self, num_files: int) -> None:
        """One error for all files that failed; it may pass only where each of them may."""
        failures = self.failures
        if not failures:
            return
        kind = PassingError if all(isinstance(error, PassingError) for error in failures) else AcquisitionError
        if len(failures) == 1:
            raise failures[0]
        told = "; ".join(str(error) for error in failures[:NUM_TOLD])
        rest = f"; and {len(failures) - NUM_TOLD} more" if len(failures) > NUM_TOLD else ""
        raise kind(f"{self.card.id}: {len(failures)} of {num_files} files failed: {told}{rest}")


async def describe(client: Client, set_id: str, files: list[File]) -> list[File]:
    """The files with what their hosts state of them before they are fetched: commits, sizes, hashes."""

    async def attempt() -> list[File]:
        return await asyncio.to_thread(hub.describe, files, client.endpoint_of(HUB))

    if not any(hub.locate(file) for file in files):
        return files
    return await patiently(attempt, client.execution, set_id)


def _refuse_strays(folder: Path, wanted: set[str]) -> None:
    """AcquisitionError where a file lies among the fetched ones that the set does not have: it would be read."""
    for path, _ in origin.find_files(folder):
        if path.relative_to(folder).as_posix() not in wanted:
            raise AcquisitionError(f"{path}: not a file of this set (any more); remove it, or move it elsewhere")


def _tell(num_bytes: int, seconds: float) -> str:
    return f"{num_bytes / 1e6:,.1f} MB in {seconds:.1f} s"
