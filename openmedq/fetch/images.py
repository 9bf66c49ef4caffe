"""Download linked images: find their addresses at PubMed Central, then download them with img2dataset, in rounds.

Each shard is downloaded by a process of its own, checked and written to the dataset's folder, which shows what is still
missing. img2dataset's own retries are off: they come at once, and for missing images too.
"""

import asyncio
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import openmedq
from openmedq import paths
from openmedq.config import Execution
from openmedq.datasets.card import LinkedImage
from openmedq.errors import AcquisitionError, TemporaryError
from openmedq.fetch import needs, pmc
from openmedq.fetch.client import LATER, RETRYABLE_STATUS, Client, pause_s
from openmedq.storage.fetched import LINKED_IMAGES, SCHEMA, Outcomes, Status, add_shard, read_outcomes
from openmedq.storage.folders import find_all
from openmedq.storage.progress import progress
from openmedq.storage.publish import remove

_log = logging.getLogger(__name__)

ADDRESSES = "addresses"  # folder of the addresses found so far
NUM_REASONS = 5  # that the summary quotes
SHARD_ROWS = 1_000  # images in memory together, and the most that an interruption discards
URLS, OUTPUT = "urls.parquet", "output"

_PROGRAM = "openmedq.fetch.img2dataset_process"
_STATUS = re.compile(r"HTTP Error (\d{3})")
_DISALLOWED = "X-Robots-Tag"  # img2dataset respects it
_IMAGE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|II\*\0|MM\0\*|BM|RIFF....WEBP", re.DOTALL)

Sizes = Mapping[str, int]  # in bytes, by name, where known


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
    client = Client(execution)

    async def resolve() -> int:
        async with client:
            return await pmc.resolve(client, wanted.values(), folder / ADDRESSES)

    num_asked = asyncio.run(resolve())
    addresses = {each.name: each for each in pmc.read(folder / ADDRESSES)}
    links = {name: address.url for name in wanted if (address := addresses[name]).url}
    before = read_outcomes(folder / LINKED_IMAGES)
    sizes = {name: size_bytes for name in links if (size_bytes := addresses[name].size_bytes) is not None}
    needs.check_room(dataset_id, sum(sizes.get(name, 0) for name in links if not _is_settled(name, before)))

    temporary = paths.RAW / dataset_id / needs.PARTIAL / LINKED_IMAGES
    fetch(links, sizes, folder / LINKED_IMAGES, temporary, client.resolve, execution)
    after = read_outcomes(folder / LINKED_IMAGES)
    summary, num_left = _summarize([addresses[name] for name in wanted], after)
    if num_left > max_missing * len(wanted):
        raise TemporaryError(f"{dataset_id}: {summary}{LATER}")
    if num_asked or num_left or after != before:
        _log.info(f"{dataset_id}: {summary}")
    return [path for name in (ADDRESSES, LINKED_IMAGES) for path in find_all(folder / name, "*.parquet")]


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


def fetch(
    addresses: Mapping[str, str],
    sizes: Sizes,
    folder: Path,
    temporary: Path,
    resolve: Callable[[str], str],
    execution: Execution,
) -> None:
    """Download images (name -> address) to shards in `folder`; `storage.fetched.read_outcomes` reads the outcomes.

    Images that are present, or missing at the host, are not requested again. An image of another size than in `sizes`
    counts as failed. `resolve` returns the URL to request for an address.

    Raises:
        TemporaryError: img2dataset left a shard undone; the others are kept.
        AcquisitionError: img2dataset failed, or an address is invalid.
    """
    for address in addresses.values():
        if not address.startswith(("https://", "http://")):
            raise AcquisitionError(f"{address}: neither an https nor an http address; refused")
    for num_rounds in range(execution.attempts):
        outcomes = read_outcomes(folder)
        left = [name for name in addresses if not _is_settled(name, outcomes)]
        if not left:
            return
        if num_rounds:
            time.sleep(pause_s(num_rounds, execution.backoff_s))
        with progress("downloading images", len(left)) as advance:
            for start in range(0, len(left), SHARD_ROWS):
                names = left[start : start + SHARD_ROWS]
                urls = [resolve(addresses[name]) for name in names]
                found = _download(pa.table({"name": names, "url": urls}), temporary, execution)
                rows = [_check_row(row, addresses[row["name"]], sizes.get(row["name"])) for row in found]
                add_shard(pa.Table.from_pylist(rows, SCHEMA), folder)
                advance(len(names))


def _is_settled(name: str, outcomes: Outcomes) -> bool:
    return name in outcomes and outcomes[name][0] is not Status.NOT_NOW


def _download(shard: pa.Table, work: Path, execution: Execution) -> list[dict[str, Any]]:
    """Download the images of a shard, and return img2dataset's rows."""
    remove(work)
    work.mkdir(parents=True)
    pq.write_table(shard, work / URLS)
    log = _run(work, execution)
    columns = ["name", "status", "error_message", "sha256", "jpg"]
    try:
        rows: list[dict[str, Any]] = pq.read_table(work / OUTPUT / "00000.parquet", columns=columns).to_pylist()
    except (pa.ArrowInvalid, FileNotFoundError):
        raise TemporaryError(f"img2dataset did not finish: {_last_line(log)}; run the command again") from None
    remove(work)
    return rows


def _run(work: Path, execution: Execution) -> str:
    """Run img2dataset on a list of addresses, and return what it prints; AcquisitionError if it fails."""
    arguments = {
        "url_list": str(work / URLS),
        "input_format": "parquet",
        "url_col": "url",
        "save_additional_columns": ["name"],
        "output_folder": str(work / OUTPUT),
        "output_format": "parquet",
        "number_sample_per_shard": SHARD_ROWS,
        "thread_count": execution.connections,
        "timeout": execution.timeout_s,
        "retries": 0,
        "resize_mode": "no",
        "disable_all_reencoding": True,
        "extract_exif": False,
        "compute_hash": "sha256",
        "user_agent_token": "openmedq",
    }
    path = os.pathsep.join(filter(None, [str(Path(openmedq.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    process = subprocess.run(
        [sys.executable, "-m", _PROGRAM, json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches this process alone, which ends it
    )
    if process.returncode:
        raise AcquisitionError(
            f"img2dataset failed: {_last_line(process.stdout)}; complete shards are kept; run the command again"
        )
    return process.stdout


def _check_row(row: dict[str, Any], address: str, size_bytes: int | None) -> dict[str, Any]:
    """A row of img2dataset's with its outcome; it succeeds only with an image of the listed size."""
    data, message = row["jpg"], row["error_message"] or ""
    status = Status.NOT_NOW
    if row["status"] == "success":
        if not _IMAGE.match(data):
            status, message = Status.NO_IMAGE, "not an image"
        elif size_bytes not in (None, len(data)):  # cut, where the server stated no size or a wrong one
            message = "another size than listed"
        elif hashlib.sha256(data).hexdigest() == row["sha256"]:
            status = Status.SUCCESS
    elif _DISALLOWED in message or ((code := _STATUS.match(message)) and int(code[1]) not in RETRYABLE_STATUS):
        status = Status.GONE
    found = {"name": row["name"], "url": address, "status": status}
    if status is Status.SUCCESS:
        return found | {"error_message": None, "sha256": row["sha256"], "picture": data}
    return found | {"error_message": message, "sha256": None, "picture": None}


def _last_line(log: str) -> str:
    """The last error in a log, else its last line."""
    lines = list(filter(None, map(str.strip, re.split(r"[\r\n]+", log))))
    errors = [line for line in lines if "error" in line.lower()]
    return next(reversed(errors or lines), "no reason given")
