"""The pictures that a set links to: their addresses first, then what lies there, in two folders of shards."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from openmedq import paths
from openmedq.config import Execution
from openmedq.datasets.card import LinkedPicture
from openmedq.errors import PassingError
from openmedq.fetch import images, needs
from openmedq.fetch.client import LATER, Client
from openmedq.fetch.hosts import pmc
from openmedq.storage.fetched import PICTURES, Outcomes, Status, read_outcomes
from openmedq.storage.folders import find_all

_log = logging.getLogger(__name__)

ADDRESSES = "addresses"
NUM_TOLD = 5  # reasons that the summary names


def fetch(set_id: str, linked: Iterable[LinkedPicture], max_missing: float, execution: Execution) -> list[Path]:
    """Fetch the pictures that are missing; the files that hold them, and what became of the others.

    What is gone is no error: the rows that show it are rejected. So are those of pictures that can't be had for now, up
    to a share of `max_missing` of all.

    Raises:
        PassingError: more of them can't be had now; what came is kept.
        AcquisitionError: PubMed Central's bucket speaks otherwise than it did, or the disk has no room.
    """
    folder = needs.folder_of(set_id)
    wanted = {picture.name: picture for picture in linked}
    client = Client(execution)
    num_asked = asyncio.run(_resolve(client, wanted.values(), folder / ADDRESSES))
    addresses = {each.name: each for each in pmc.read(folder / ADDRESSES)}
    links = {name: address.url for name in wanted if (address := addresses[name]).url}
    before = read_outcomes(folder / PICTURES)
    sizes = {name: size_bytes for name in links if (size_bytes := addresses[name].size_bytes) is not None}
    left = (name for name in links if not images.is_settled(name, before))
    needs.check_room(set_id, sum(sizes.get(name, 0) for name in left))

    aside = paths.RAW / set_id / needs.PARTIAL / PICTURES
    images.fetch(links, sizes, folder / PICTURES, aside, client.place, execution)
    after = read_outcomes(folder / PICTURES)
    told, num_left = _sum_up([addresses[name] for name in wanted], after)
    if num_left > max_missing * len(wanted):
        raise PassingError(f"{set_id}: {told}{LATER}")
    if num_asked or num_left or after != before:
        _log.info(f"{set_id}: {told}")
    return [path for name in (ADDRESSES, PICTURES) for path in find_all(folder / name, "*.parquet")]


async def _resolve(client: Client, wanted: Iterable[LinkedPicture], folder: Path) -> int:
    async with client:
        return await pmc.resolve(client, wanted, folder)


def _sum_up(addresses: Iterable[pmc.Address], outcomes: Outcomes) -> tuple[str, int]:
    """What became of the pictures in a line; how many of them may come another time."""
    found: Counter[Status] = Counter()
    reasons: dict[Status, Counter[str]] = {status: Counter() for status in Status}
    for address in addresses:
        status, reason = Status.GONE, address.reason or ""
        if address.url:
            status, reason = outcomes.get(address.name, (Status.NOT_NOW, "not tried"))
        found[status] += 1
        reasons[status][reason] += 1
    parts = [f"{found[Status.SUCCESS]} of {found.total()} pictures fetched"]
    for word, statuses in (("gone", (Status.GONE,)), ("failed", (Status.NO_PICTURE, Status.NOT_NOW))):
        why = sum((reasons[status] for status in statuses), Counter())
        listed = "; ".join(f"{number}: {reason}" for reason, number in why.most_common(NUM_TOLD))
        parts.append(f"{why.total()} {word}" + (f" ({listed})" if listed else ""))
    return ", ".join(parts), found[Status.NOT_NOW]
