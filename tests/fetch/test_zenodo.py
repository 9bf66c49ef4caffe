"""Zenodo states sizes and md5 of its records' files: what a card does not pin is held to them."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from openmedq.config import Execution
from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError
from openmedq.fetch.client import Client
from openmedq.fetch.hosts import zenodo
from tests.servers import Server, faults, serve
from tests.servers.exchange import Content, Reply

URL = "https://zenodo.org/records/10499039/files/"
DATA = b"PK" * 500
SITE = {f"{URL}a%20b.zip": DATA, f"{URL}c.txt": b"c"}


def _instead(document: bytes) -> faults.Fault:
    return faults.Fault(after=lambda request, reply, other: Reply(200, {}, Content(document)))


def describe(server: Server, *files: File) -> list[File]:
    async def ask() -> list[File]:
        async with Client(Execution(endpoints=server.endpoints)) as client:
            return await zenodo.describe(client, files)

    return asyncio.run(ask())


def test_sizes_and_md5_are_zenodos() -> None:
    archive = File(path="a b.zip", url=f"{URL}a%20b.zip?download=1")
    pinned = File(path="c.txt", url=f"{URL}c.txt?download=1", md5="0" * 32)
    elsewhere = File(path="d", url="https://example.org/d")
    with serve(SITE) as server:
        found = describe(server, archive, pinned, elsewhere)
        assert [request.path for request in server.requests] == ["/api/records/10499039"]
    assert found[1:] == [pinned, elsewhere]
    assert (found[0].size_bytes, found[0].md5) == (1000, hashlib.md5(DATA).hexdigest())


def test_a_file_that_the_record_lacks_is_told() -> None:
    with serve(SITE) as server, pytest.raises(AcquisitionError, match=r"^e\.txt: .*/e\.txt is not in its record"):
        describe(server, File(path="e.txt", url=f"{URL}e.txt"))


def test_a_card_that_says_otherwise_is_told() -> None:
    with serve(SITE) as server, pytest.raises(AcquisitionError, match=r"Zenodo states 1 bytes, the card 2$"):
        describe(server, File(path="c.txt", url=f"{URL}c.txt", size_bytes=2))


@pytest.mark.parametrize("size", ["-1", "0", "true", "1.5", '"1"', "null"])
def test_a_size_is_a_number_of_bytes(size: str) -> None:
    entry = b'{"files": [{"key": "c.txt", "checksum": "md5:%b", "size": %b}]}' % (b"0" * 32, size.encode())
    with serve(SITE, [_instead(entry)]) as server, pytest.raises(AcquisitionError, match="without a size and md5"):
        describe(server, File(path="c.txt", url=f"{URL}c.txt"))


def test_what_is_nested_without_end_is_no_record() -> None:
    with serve(SITE, [_instead(b"[" * 100_000)]) as server, pytest.raises(AcquisitionError, match="expected a record"):
        describe(server, File(path="c.txt", url=f"{URL}c.txt"))


def test_a_page_is_no_record() -> None:
    with serve(SITE, [faults.html()]) as server, pytest.raises(AcquisitionError, match="expected a record with its"):
        describe(server, File(path="c.txt", url=f"{URL}c.txt"))
