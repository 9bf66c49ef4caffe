"""Download linked images: find their addresses at PubMed Central, then download them into Parquet shards.

A shard holds the outcomes of some hundred images, in the order in which they arrive. An interrupted download keeps its
complete shards; the next one requests only what is missing or was unavailable.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from openmedq.config import Execution
from openmedq.datasets.card import LinkedImage
from openmedq.errors import AccessError, MissingError, TemporaryError
from openmedq.fetch import needs
from openmedq.fetch.addresses import plain
from openmedq.fetch.client import LATER, Client, run_workers
from openmedq.fetch.hosts import pmc
from openmedq.storage.fetched import LINKED_IMAGES, SCHEMA, Outcomes, Status, add_shard, read_outcomes
from openmedq.storage.folders import find_all
from openmedq.storage.progress import progress

_log = logging.getLogger(__name__)

ADDRESSES = "addresses"  # folder of the addresses found so far
NUM_REASONS = 5  # that the summary quotes
SHARD_ROWS = 250  # images that are in memory until they are written, and lost if the process is killed
MAX_FAILURES = 50  # without a success between them, after which no more images are requested

_IMAGE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|II\*\0|MM\0\*|BM|RIFF....WEBP", re.DOTALL)


def fetch_linked(
    dataset_id: str, linked: Iterable[LinkedImage], max_missing: float, execution: Execution
) -> list[Path]:
    """Download a dataset's missing linked images; returns the files with the addresses and the images.

    An image that does not exist is no error: its rows are rejected. Neither is one that is unavailable now, up to a
    share of `max_missing` of all.

    Raises:
        TemporaryError: more of them are unavailable now; the others are kept.
        AcquisitionError: the bucket's answers have another form, or the disk lacks room.
    """
    folder = needs.folder_of(dataset_id)
    wanted = {image.name: image for image in linked}
    before = read_outcomes(folder / LINKED_IMAGES)

    async def run() -> tuple[list[pmc.Address], int]:
        async with Client(execution) as client:
            num_asked = await pmc.resolve(client, wanted.values(), folder / ADDRESSES)
            addresses = [address for address in pmc.read(folder / ADDRESSES) if address.name in wanted]
            left = [each for each in addresses if each.url and not _is_settled(each.name, before)]
            needs.check_room(dataset_id, sum(address.size_bytes or 0 for address in left))
            await fetch(client, left, folder / LINKED_IMAGES)
            return addresses, num_asked

    addresses, num_asked = asyncio.run(run())
    after = read_outcomes(folder / LINKED_IMAGES)
    summary, num_left = _summarize(addresses, after)
    if num_left > max_missing * len(wanted):
        raise TemporaryError(f"{dataset_id}: {summary}{LATER}")
    if num_asked or num_left or after != before:
        _log.info(f"{dataset_id}: {summary}")
    return [path for name in (ADDRESSES, LINKED_IMAGES) for path in find_all(folder / name, "*.parquet")]


async def fetch(client: Client, addresses: Sequence[pmc.Address], folder: Path) -> None:
    """Download images to new shards in `folder`, with an outcome for each image that was requested."""
    if not addresses:
        return
    rows: list[dict[str, Any]] = []
    waiting = iter(addresses)
    num_failed = 0  # in a row

    async def work() -> None:
        nonlocal num_failed
        for address in waiting:  # shared by all workers
            if num_failed >= MAX_FAILURES:
                return
            rows.append(await _fetch_image(client, address))
            num_failed = num_failed + 1 if rows[-1]["status"] is Status.NOT_NOW else 0
            advance(1)
            if len(rows) >= SHARD_ROWS:
                write()

    def write() -> None:
        add_shard(pa.Table.from_pylist(rows, SCHEMA), folder)
        rows.clear()

    with progress("downloading images", len(addresses)) as advance:
        try:
            await run_workers(work, client.execution.connections)
        finally:
            if rows:
                write()


def _is_settled(name: str, outcomes: Outcomes) -> bool:
    """Whether an image is present, or will not come: it is not requested again."""
    return name in outcomes and outcomes[name][0] is not Status.NOT_NOW


async def _fetch_image(client: Client, address: pmc.Address) -> dict[str, Any]:
    """Request one image; returns a row of SCHEMA, a success only with an image of the listed size."""
    assert address.url is not None
    status, reason, data = Status.SUCCESS, None, None
    try:
        data = await client.read(address.url)
    except (AccessError, MissingError) as error:
        status, reason = Status.GONE, _shorten(error, address.url)
    except TemporaryError as error:
        status, reason = Status.NOT_NOW, _shorten(error, address.url)
    if data is not None and not _IMAGE.match(data):
        status, reason, data = Status.NO_IMAGE, "not an image", None
    elif data is not None and address.size_bytes not in (None, len(data)):
        status, reason, data = Status.NOT_NOW, "another size than listed", None
    return {
        "name": address.name,
        "url": address.url,
        "status": status,
        "error_message": reason,
        "sha256": hashlib.sha256(data).hexdigest() if data is not None else None,
        "picture": data,
    }


def _shorten(error: Exception, url: str) -> str:
    """The reason without the address and the advice, so that the summary can count equal ones."""
    return str(error).removeprefix(f"{plain(url)}: ").partition(";")[0]


def _summarize(addresses: Iterable[pmc.Address], outcomes: Outcomes) -> tuple[str, int]:
    """One line on how many images were downloaded, and the number of those that may be available later."""
    reasons: dict[Status, Counter[str]] = {status: Counter() for status in Status}
    for address in addresses:
        status, reason = Status.GONE, address.reason or ""
        if address.url:
            status, reason = outcomes.get(address.name, (Status.NOT_NOW, "not tried"))
        reasons[status][reason] += 1
    num_all = sum(each.total() for each in reasons.values())
    parts = [f"{reasons[Status.SUCCESS].total()} of {num_all} images downloaded"]
    failed = reasons[Status.NO_IMAGE] + reasons[Status.NOT_NOW]
    for word, why in (("missing at the host", reasons[Status.GONE]), ("failed", failed)):
        listed = "; ".join(f"{number}: {reason}" for reason, number in why.most_common(NUM_REASONS))
        parts.append(f"{why.total()} {word}" + (f" ({listed})" if listed else ""))
    return ", ".join(parts), reasons[Status.NOT_NOW].total()
