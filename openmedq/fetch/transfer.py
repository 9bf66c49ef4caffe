"""One file: streamed aside, verified as it comes, gone on with after a cut, and renamed once it is whole and right.

What has come lies at `aside`; beside it, `<aside>.tag` says of which version of the file.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import aiohttp

from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError, ChecksumError
from openmedq.fetch import promise, version
from openmedq.fetch.addresses import plain
from openmedq.fetch.client import CHUNK_BYTES, Client, NotNowError, patiently

MIN_BYTES_PER_S = 1_000  # over `execution.timeout_s`; a server that sends less is as one that sends nothing
RESERVE_BYTES = 2**30  # of the disk, left free by files whose size nobody knew when room was looked for
LOOK_BYTES = 2**26  # of such a file, between two looks at the disk
CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18})", re.ASCII)

Advance = Callable[[float], None]


@dataclass
class _State:
    """What has come of a file, in bytes and hashes."""

    num_bytes: int = 0
    start: bytes = b""  # what tells a file from a page
    hashes: dict[str, hashlib._Hash] = field(default_factory=lambda: {"sha256": hashlib.sha256(), "md5": _md5()})
    furthest: int = 0  # of all attempts, in bytes: what comes again is no progress
    num_wrong: int = 0  # times that the whole was not what was promised
    is_tagged: bool = False  # its version is, or may be, noted beside it: a small file's is not

    def add(self, chunk: bytes) -> None:
        for digest in self.hashes.values():
            digest.update(chunk)
        self.start += chunk[: promise.START_BYTES - len(self.start)]
        self.num_bytes += len(chunk)
        self.furthest = max(self.furthest, self.num_bytes)

    def hex(self, name: str) -> str:
        return self.hashes[name].hexdigest()


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


async def transfer(
    client: Client, file: File, target: Path, aside: Path, advance: Advance, approve: Callable[[str, int], None]
) -> tuple[str, int]:
    """Fetch a file to `target`; its sha256 and its size in bytes.

    `advance` is told each step in bytes, backwards too, where something has to come again. `approve` is asked with
    sha256 and size before the file takes its place; what it refuses by an exception stays aside, whole.

    Raises:
        PassingError: the server does not answer now; what came is kept.
        AcquisitionError: the server refuses, or sends what can't be the file.
        ChecksumError: whole, and not what the card or the hub promises; nothing is kept of it.
        OSError: the disk is full, say; what came is kept.
    """
    state = _State()
    if file.md5 is None:
        del state.hashes["md5"]
    if aside.is_file():
        state.is_tagged = True  # or may be
        await asyncio.to_thread(_take_up, aside, state)  # 20 GB of it would hold up all others
    advance(state.num_bytes)

    async def attempt() -> None:
        await _receive(client, file, aside, state, advance)
        while not _is_as_promised(file, aside, state, advance):
            await _receive(client, file, aside, state, advance)

    await patiently(attempt, client.execution, f"{file.path}: {plain(file.url)}", lambda: state.furthest)
    approve(state.hex("sha256"), state.num_bytes)
    try:
        aside.replace(target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.replace(target)
    if state.is_tagged:
        _tag(aside).unlink(missing_ok=True)
    return state.hex("sha256"), state.num_bytes


def _take_up(aside: Path, state: _State) -> None:
    """Hash what came before."""
    with aside.open("rb") as came:
        while chunk := came.read(CHUNK_BYTES):
            state.add(chunk)


async def _receive(client: Client, file: File, aside: Path, state: _State, advance: Advance) -> None:
    """Append what is missing, or all of it anew."""
    is_pinned = bool(file.sha256 or file.md5)
    begun = version.read(_tag(aside)) if state.num_bytes else version.Version()
    headers = {}
    if state.num_bytes:
        if state.num_bytes == file.size_bytes:
            return
        if begun.validator or is_pinned:
            headers["Range"] = f"bytes={state.num_bytes}-"
        else:  # nothing would tell whether the rest is of the same file
            _start_over(aside, state, advance)
        if begun.validator:
            headers["If-Range"] = begun.validator
    async with client.get(file.url, headers) as response:
        start, total = _place(response)
        seen = version.of(response, total)
        is_same = not begun.differs(seen)
        promise.check_framing(file, response)
        if response.status == 416 and total == state.num_bytes and is_same:
            return
        if response.status == 416 or start != state.num_bytes or not is_same:
            _start_over(aside, state, advance)
            if response.status == 416 or start:
                raise NotNowError("the server sends another part than was asked for")
        if state.num_bytes:
            promise.check_size(file, total)
        since, then = time.monotonic(), state.num_bytes
        with _open(aside) as out:
            while chunk := await client.read_chunk(response):
                if len(state.start) < promise.START_BYTES:  # before its size, which says less
                    promise.check_start(file, response.headers.get("Content-Type", ""), state.start + chunk)
                if not state.num_bytes:
                    promise.check_size(file, total)
                    if len(chunk) != total or not is_pinned:  # a small file comes whole, and its hash says so
                        version.write(_tag(aside), seen)
                        state.is_tagged = True
                out.write(chunk)
                state.add(chunk)
                advance(len(chunk))
                promise.check_size(file, state.num_bytes, is_whole=False)
                if state.num_bytes % LOOK_BYTES < len(chunk):
                    _check_reserve(file, aside)
                if (passed_s := time.monotonic() - since) > client.execution.timeout_s:
                    if state.num_bytes - then < MIN_BYTES_PER_S * passed_s:
                        raise NotNowError("the server sends next to nothing")
                    since, then = time.monotonic(), state.num_bytes
                if total is not None and state.num_bytes > total:
                    break
    if total is not None and state.num_bytes > total:
        _start_over(aside, state, advance)
        raise NotNowError("the server sends more than it says that the file has")
    if total is not None and state.num_bytes < total:
        raise NotNowError("the connection was cut")


def _open(aside: Path) -> BinaryIO:
    """To append; its folder is there but for the first file, and a look for it costs as much as the rest."""
    try:
        return aside.open("ab")
    except FileNotFoundError:
        aside.parent.mkdir(parents=True, exist_ok=True)
        return aside.open("ab")


def _check_reserve(file: File, aside: Path) -> None:
    """AcquisitionError before a file without a known size, or an end, fills the disk for everyone."""
    if (file.size_bytes or file.about_bytes) is None and shutil.disk_usage(aside.parent).free < RESERVE_BYTES:
        raise AcquisitionError(
            f"{file.path}: {plain(file.url)} sends on and on, and {aside.parent} has less than "
            f"{RESERVE_BYTES / 1e9:.1f} GB free; make room and go on, or remove {aside} if it can't be that long"
        )


def _place(response: aiohttp.ClientResponse) -> tuple[int, int | None]:
    """At which byte a body begins, and how long the whole file is, as far as the server says.

    A part of a file whose length it does not say (`*`) could be taken for the whole: it begins nowhere (-1).
    """
    if response.status in (206, 416):
        found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        return (int(found[1] or -1), int(found[2])) if found else (-1, None)
    return 0, response.content_length


def _start_over(aside: Path, state: _State, advance: Advance) -> None:
    advance(-state.num_bytes)
    aside.unlink(missing_ok=True)
    _tag(aside).unlink(missing_ok=True)
    state.num_bytes, state.start = 0, b""
    state.hashes = {name: _md5() if name == "md5" else hashlib.sha256() for name in state.hashes}


def _is_as_promised(file: File, aside: Path, state: _State, advance: Advance) -> bool:
    """Hold the whole file to sizes and hashes: nothing is kept of what fails, and the second that does is an error."""
    try:
        promise.check_size(file, state.num_bytes)
        promise.check_hashes(file, {name: state.hex(name) for name in state.hashes})
        if state.num_bytes:
            promise.check_whole(file, aside)
    except (AcquisitionError, ChecksumError):
        _start_over(aside, state, advance)
        state.num_wrong += 1
        if state.num_wrong > 1:
            raise
        return False
    if not state.num_bytes:
        raise AcquisitionError(f"{file.path}: {plain(file.url)} gives nothing: an empty file, which nobody publishes")
    return True


def _tag(aside: Path) -> Path:
    return Path(f"{aside}.tag")
