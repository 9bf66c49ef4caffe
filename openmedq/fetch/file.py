"""Download one file: resume it after an interruption, check it while it arrives, rename it when it is complete.

Partial data is in a temporary path; `<path>.tag` beside it holds the validator of the version, so that parts of two
versions are not joined. Size and hashes are those of the card, else those that the host states.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import aiohttp

from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError, ChecksumError
from openmedq.fetch import checks
from openmedq.fetch.addresses import plain
from openmedq.fetch.client import CHUNK_BYTES, Client, RetryableError, retry

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18})", re.ASCII)

Advance = Callable[[float], None]


async def download_file(
    client: Client, file: File, target: Path, temporary: Path, advance: Advance, approve: Callable[[str, int], None]
) -> tuple[str, int]:
    """Download a file to `target`; returns its sha256 and its size in bytes.

    `advance` receives the bytes of each step, negative ones where data is discarded. `approve` receives sha256 and size
    of the complete file before it is renamed; if it raises, the file stays at the temporary path.

    Raises:
        TemporaryError: the server does not answer now; partial data is kept.
        AcquisitionError: the server refuses, or sends something that cannot be the file.
        ChecksumError: the complete file has another hash than expected; it is deleted.
        OSError: the disk is full, for example; partial data is kept.
    """
    state = _Download(client, file, temporary, advance)
    if temporary.is_file():
        await asyncio.to_thread(state.read_partial)  # hashing 20 GB here would block all other downloads
    advance(state.num_bytes)
    await retry(state.receive, client.execution, f"{file.path}: {plain(file.url)}", lambda: state.max_bytes)
    state.check()
    sha256 = state.hashes["sha256"].hexdigest()
    approve(sha256, state.num_bytes)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.replace(target)
    state.tag.unlink(missing_ok=True)
    return sha256, state.num_bytes


class _Download:
    """The partial data of a file: how many bytes, their hashes and their start."""

    def __init__(self, client: Client, file: File, temporary: Path, advance: Advance) -> None:
        self.client, self.file, self.temporary, self.advance = client, file, temporary, advance
        self.tag = Path(f"{temporary}.tag")
        self.max_bytes = 0  # of all attempts: bytes that arrive again are no progress
        self._reset()

    def _reset(self) -> None:
        self.num_bytes, self.start = 0, b""
        self.hashes = {"sha256": hashlib.sha256()}
        if self.file.md5 is not None:
            self.hashes["md5"] = hashlib.md5(usedforsecurity=False)

    def _add(self, chunk: bytes) -> None:
        for digest in self.hashes.values():
            digest.update(chunk)
        self.start += chunk[: checks.START_BYTES - len(self.start)]
        self.num_bytes += len(chunk)
        self.max_bytes = max(self.max_bytes, self.num_bytes)

    def read_partial(self) -> None:
        """Hash the data that an earlier run left."""
        with self.temporary.open("rb") as data:
            for chunk in iter(partial(data.read, CHUNK_BYTES), b""):
                self._add(chunk)

    def _start_over(self) -> None:
        self.advance(-self.num_bytes)
        self.temporary.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)
        self._reset()

    async def receive(self) -> None:
        """Append the missing bytes; receive all if the data there may be of another version, and no hash would tell."""
        begun = _read_tag(self.tag) if self.num_bytes else ""
        if self.num_bytes and not (begun or checks.has_hash(self.file)):
            self._start_over()
        headers = {"Range": f"bytes={self.num_bytes}-"} if self.num_bytes else {}
        if begun:
            headers["If-Range"] = begun
        async with self.client.get(self.file.url, headers) as response:
            first, total = _parse_range(response)
            validator = _choose_validator(response)
            checks.check_framing(self.file, response)
            if response.status == 416 and total == self.num_bytes:
                return
            is_same = begun in ("", validator)  # compared, because some servers ignore If-Range
            if first != self.num_bytes or not is_same:
                self._start_over()
                if first:
                    raise RetryableError("the server sends another part than the requested one")
            await self._append(response, total, validator)
        if total not in (None, self.num_bytes):
            raise RetryableError("the connection was cut")

    async def _append(self, response: aiohttp.ClientResponse, total: int | None, validator: str) -> None:
        """Write the body to the temporary path, and check it at each chunk."""
        file = self.file
        self.temporary.parent.mkdir(parents=True, exist_ok=True)
        with self.temporary.open("ab") as out:
            while chunk := await response.content.readany():
                if len(self.start) < checks.START_BYTES:  # before the size: "a web page" explains more
                    checks.check_start(file, response.headers.get("Content-Type", ""), self.start + chunk)
                if not self.num_bytes:
                    checks.check_size(file, total)
                    if len(chunk) != total:
                        self.tag.write_text(validator, encoding="utf-8")
                out.write(chunk)
                self._add(chunk)
                self.advance(len(chunk))
                checks.check_size(file, self.num_bytes, is_all=False)

    def check(self) -> None:
        """Delete the complete file and raise an error if it is empty, a cut zip, or of a wrong size or hash."""
        where = f"{self.file.path}: {plain(self.file.url)}"
        try:
            if not self.num_bytes:
                raise AcquisitionError(f"{where} is an empty file; {checks.UNCLEAR}")
            checks.check_size(self.file, self.num_bytes)
            for name, digest in self.hashes.items():
                if (expected := getattr(self.file, name)) not in (None, digest.hexdigest()):
                    raise ChecksumError(
                        f"{where} has {name} {digest.hexdigest()}, expected {expected}; it is deleted; run the command "
                        "again; if the publisher changed the file, update its card"
                    )
            if not checks.is_as_named(self.file, self.temporary):
                raise AcquisitionError(f"{where} is incomplete; it is deleted; run the command again")
        except (AcquisitionError, ChecksumError):
            self._start_over()
            raise


def _parse_range(response: aiohttp.ClientResponse) -> tuple[int, int | None]:
    """The first byte of a body, and the size of the complete file if the server states it.

    A part of a file of unstated size (`*`) could be taken for the complete file: its first byte is -1.
    """
    if response.status in (206, 416):
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        return (int(found[1] or -1), int(found[2])) if found else (-1, None)
    return 0, response.content_length


def _choose_validator(response: aiohttp.ClientResponse) -> str:
    """A strong ETag, else Last-Modified: what If-Range takes (RFC 9110, 13.1.5); "" if there is none."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _read_tag(tag: Path) -> str:
    """The validator of the version; "" if the tag is missing, damaged by a power failure, or an earlier version's."""
    try:
        validator = tag.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
    return validator if validator.isprintable() and not validator.startswith("[") else ""
