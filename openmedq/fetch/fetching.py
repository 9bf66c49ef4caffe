"""Download the files of a dataset: several at once, only those that are missing or do not have the expected hash."""

import asyncio
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from yarl import URL

from openmedq import paths
from openmedq.config import Download, Execution
from openmedq.datasets.card import Access, Card, Dataset, File
from openmedq.errors import AccessError, AcquisitionError, OpenMedQError, StaleError, TemporaryError, numbered
from openmedq.fetch import checks, hosts, images, ledger, needs
from openmedq.fetch.client import Client, run_workers
from openmedq.fetch.file import Advance, download_file
from openmedq.storage import origin
from openmedq.storage.progress import progress
from openmedq.storage.publish import is_disk_full

_log = logging.getLogger(__name__)

HASHES = paths.PARTIAL / "fetch-cache"
MAX_FAILURES = 50  # after which no more files are requested


def fetch(dataset: Dataset, settings: Download, execution: Execution) -> origin.Origin:
    """Download the dataset's files, of the edition in the settings, to data/raw/<id>/files; returns paths and hashes.

    Raises:
        TemporaryError: some are unavailable now, and all other faults are of this kind too; partial data is kept.
        AcquisitionError: some are unavailable, or the disk lacks room.
        ChecksumError: some do not have the expected or recorded hash.
        StaleError: a file is not on the card, or is in the place of a published one.
    """
    with origin.open_hashes(HASHES) as hashes:
        work = _Work(dataset.card.choose(settings.editions.get(dataset.card.id)), execution, hashes)
        try:
            asyncio.run(work.fetch(dataset))
            linked = getattr(dataset, "linked_images", None)
            if linked is not None:
                links = linked(work.folder)
                work.record_linked(images.fetch_linked(dataset.card.id, links, settings.max_missing, execution))
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise AcquisitionError(
                f"{work.folder}: the disk is full; free some space and run the command again; partial files are kept"
            ) from None
    for path, _ in origin.find_files(work.folder):  # the dataset's reader would read it
        if path.relative_to(work.folder).as_posix() not in work.entries:
            raise StaleError(f"{path}: not a file of this dataset's card; remove it or move it elsewhere")
    if work.num_fetched:
        _log.info(f"{dataset.card.id}: {numbered(work.num_fetched, 'file')} downloaded")
    return origin.Origin(work.folder, "official", tuple(work.entries[path] for path in sorted(work.entries)))


@dataclass
class _Work:
    """One download of a dataset: the files present, and the failures."""

    card: Card
    execution: Execution
    hashes: origin.Hashes
    entries: dict[str, origin.Entry] = field(default_factory=dict)  # by path
    failures: list[OpenMedQError] = field(default_factory=list)
    num_fetched: int = 0

    @cached_property
    def folder(self) -> Path:
        return needs.folder_of(self.card.id)

    @cached_property
    def recorded(self) -> dict[str, ledger.Entry]:
        """The dataset's ledger."""
        return dict(ledger.read(self.card.id))

    @cached_property
    def card_paths(self) -> set[str]:
        """Paths of the files on the card, which the ledger records. Those that they list have a hash there."""
        return {file.path for file in self.card.files}

    @property
    def is_given_up(self) -> bool:
        """Whether no more files are requested: the host denies access, or too many failed."""
        is_guarded = self.card.access in needs.GUARDED
        return len(self.failures) >= MAX_FAILURES or (
            is_guarded and any(isinstance(error, AccessError) for error in self.failures)
        )

    async def fetch(self, dataset: Dataset) -> None:
        """Download the files of the card, then those that they list."""
        async with Client(self.execution) as client:
            await self._fetch_card(client)
            more = getattr(dataset, "more_files", None)
            if more is not None:
                await self._fetch_more(client, more(self.folder))

    def record_linked(self, paths: list[Path]) -> None:
        """Add the shards of linked images. The ledger omits them: images arrive in any order."""
        for path in paths:
            name = path.relative_to(self.folder).as_posix()
            self.entries[name] = self._hash(path, name)

    async def _fetch_card(self, client: Client) -> None:
        card, recorded = self.card, self.recorded
        known = [file for file in card.files if checks.has_hash(file) or file.path in recorded]
        absent = [file for file in card.files if file not in known or not self._accept(file)]
        if not absent:
            return
        described = await hosts.describe(client, absent)
        missing = [file for file in described if not self._accept(file)]
        if not missing:
            return
        for file in missing:
            if file.path not in recorded and (path := self.folder / file.path).exists():
                raise StaleError(f"{path}: not the published file; remove it, and run the command again")
        if card.terms:
            _log.info(f"{card.title}: its terms of use\n{card.terms}")
        if card.advice and card.access is Access.OPEN:
            _log.info(f"{card.title}: {card.advice}")
        sizes = [file.size_bytes or file.about_bytes for file in missing]
        needed_bytes = sum(size or 0 for size in sizes)
        needs.check_room(card.id, needed_bytes - sum(needs.size_of(needs.partial_of(card.id, f)) for f in missing))
        total = None if None in sizes else needed_bytes
        with progress(f"downloading {card.id}", total, is_bytes=True) as advance:
            await self._download_all(client, iter(missing), advance)

    async def _fetch_more(self, client: Client, files: Iterator[File]) -> None:
        """Download files that the card's files list."""
        missing = (file for file in files if not self._accept(file))
        with progress(f"downloading images of {self.card.id}", None, is_bytes=True) as advance:
            await self._download_all(client, missing, advance)

    async def _download_all(self, client: Client, files: Iterator[File], advance: Advance) -> None:
        """Download the files, `execution.connections` at once; a failure does not stop the others."""

        async def work() -> None:
            for file in files:  # shared by all workers
                if self.is_given_up:
                    return
                try:
                    await self._download(client, file, advance)
                except OpenMedQError as error:
                    is_image = self.card.is_credentialed and file.path not in self.card_paths
                    self.failures.append(_redact(error, file) if is_image else error)

        await run_workers(work, self.execution.connections)
        self._raise_failures()

    async def _download(self, client: Client, file: File, advance: Advance) -> None:
        target, temporary = self.folder / file.path, needs.partial_of(self.card.id, file)

        def check_ledger(sha256: str, size_bytes: int) -> None:
            if file.path in self.card_paths and file.is_stable:
                ledger.check(self.card.id, file.path, ledger.Entry(file.url, sha256, size_bytes), self.recorded)

        sha256, size_bytes = await download_file(client, file, target, temporary, advance, check_ledger)
        self.hashes.put(target, target.stat(), sha256)
        self.num_fetched += 1
        self._record(file, origin.Entry(file.path, size_bytes, sha256))

    def _accept(self, file: File) -> bool:
        """Record the file if it is present and has the expected hash, or else the expected size and first bytes."""
        path = self.folder / file.path
        if not path.is_file():
            return False
        found = self._hash(path, file.path)
        entry = self.recorded.get(file.path)
        expected = {file.sha256, entry.sha256 if entry else None} - {None}
        if not expected <= {found.sha256}:
            return False
        if not expected:  # nor was it recorded: the user put it there
            low, high = checks.size_bounds(file)
            is_md5 = file.md5 is None or file.md5 == origin.compute_md5(path)
            if not (low <= found.size_bytes <= high and is_md5 and checks.is_as_named(file, path)):
                return False
        self._record(file, found)
        return True

    def _hash(self, path: Path, name: str) -> origin.Entry:
        status = path.stat()
        sha256 = self.hashes.get(path, status) or self.hashes.compute(path, status)
        return origin.Entry(name, status.st_size, sha256)

    def _record(self, file: File, entry: origin.Entry) -> None:
        """Add the file to the result and, at its first download, to the ledger."""
        self.entries[entry.path] = entry
        if file.path in self.card_paths and file.is_stable and file.path not in self.recorded:
            self.recorded[file.path] = ledger.Entry(file.url, entry.sha256, entry.size_bytes)
            ledger.write(self.card.id, self.recorded)

    def _raise_failures(self) -> None:
        """Raise one error for all failed files: TemporaryError only if each of them is one."""
        if not self.failures:
            return
        first = next((each for each in self.failures if not isinstance(each, TemporaryError)), self.failures[0])
        if len(self.failures) == 1:
            raise first
        skipped = "; the remaining files were not tried" if self.is_given_up else ""
        raise type(first)(f"{first}; {numbered(len(self.failures), 'file')} of {self.card.id} failed{skipped}")


def _redact(error: OpenMedQError, file: File) -> OpenMedQError:
    """The error without name and address of a credentialed image, which hold patient ids."""
    host = URL(file.url).host or ""
    return type(error)(re.sub(r"https?://[^\s:]+", host, str(error)).replace(file.path, "an image"))
