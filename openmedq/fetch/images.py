"""Download linked images: find their addresses at PubMed Central, then download them with img2dataset, in rounds.

A round has a numbered temporary folder with the list of addresses and img2dataset's output. Each complete shard is
checked and moved to the dataset's folder, which shows what is still missing. img2dataset's own retries are off: they
come at once, and for missing images too.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
import signal
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
from openmedq.fetch import needs
from openmedq.fetch.client import LATER, RETRYABLE_STATUS, Client, pause_s
from openmedq.fetch.hosts import pmc
from openmedq.fetch.img2dataset_process import NUM_TIMEOUTS
from openmedq.storage.fetched import GROUP_BYTES, LINKED_IMAGES, SCHEMA, Outcomes, Status, read_outcomes
from openmedq.storage.folders import find_all
from openmedq.storage.progress import progress
from openmedq.storage.publish import remove

_log = logging.getLogger(__name__)

ADDRESSES = "addresses"  # folder of the addresses found so far
NUM_REASONS = 5  # that the summary quotes
SHARD_ROWS = 1_000  # the most images that an interruption discards; img2dataset renews its processes every five shards
BUFFER_ROWS = 100  # images that img2dataset writes at once
POLL_S = 0.2
URLS, OUTPUT, LOG = "urls.parquet", "output", "log.txt"

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
        TemporaryError: img2dataset left shards undone; the others are kept.
        AcquisitionError: img2dataset failed, or an address is invalid.
    """
    num_rounds = 0
    while True:
        for begun in sorted(temporary.glob(f"*/{URLS}")):  # an interrupted run's too
            _finish(begun.parent, sizes, folder, execution)
        outcomes = read_outcomes(folder)
        left = {name: url for name, url in addresses.items() if not _is_settled(name, outcomes)}
        if not left or num_rounds == execution.attempts:
            return
        if num_rounds:
            time.sleep(pause_s(num_rounds, execution.backoff_s))
        num_rounds += 1
        numbers = (int(path.name.partition("-")[0]) for path in folder.glob("[0-9]*-*.parquet"))
        _begin(temporary / f"{max(numbers, default=-1) + 1:04}", left, resolve)


def _is_settled(name: str, outcomes: Outcomes) -> bool:
    return name in outcomes and outcomes[name][0] is not Status.NOT_NOW


def _begin(work: Path, addresses: Mapping[str, str], resolve: Callable[[str], str]) -> None:
    """Write a round's list. It does not change until the round ends: shards are identified by their row numbers."""
    for address in addresses.values():
        if not address.startswith(("https://", "http://")):
            raise AcquisitionError(f"{address}: neither an https nor an http address; refused")
    remove(work)
    work.mkdir(parents=True)
    rows = {"name": list(addresses), "address": list(addresses.values()), "url": list(map(resolve, addresses.values()))}
    pq.write_table(pa.table(rows), work / f".{URLS}")
    (work / f".{URLS}").replace(work / URLS)


def _finish(work: Path, sizes: Sizes, folder: Path, execution: Execution) -> None:
    """Download a round's list, except the shards that are complete."""
    num_rows: int = pq.read_metadata(work / URLS).num_rows
    folder.mkdir(parents=True, exist_ok=True)

    def num_left() -> int:
        return -(-num_rows // SHARD_ROWS) - len(list(folder.glob(f"{work.name}-*.parquet")))

    _collect(work, sizes, folder)
    if num_left():
        with progress("downloading images", num_left() * SHARD_ROWS) as advance:
            _run(work, execution, lambda: advance(_collect(work, sizes, folder)))
    if num_left():
        raise TemporaryError(f"img2dataset did not finish: {_last_line(work / LOG)}; run the command again")
    remove(work)


def _run(work: Path, execution: Execution, collect: Callable[[], None]) -> None:
    """Run img2dataset on a round's list; `collect` is called regularly and at the end."""
    num_processes = min(execution.workers, execution.connections)
    num_threads = execution.connections // num_processes
    arguments = {
        "url_list": str(work / URLS),
        "input_format": "parquet",
        "url_col": "url",
        "save_additional_columns": ["name", "address"],
        "output_folder": str(work / OUTPUT),
        "output_format": "parquet",
        "number_sample_per_shard": SHARD_ROWS,
        "processes_count": num_processes,
        "thread_count": num_threads,
        "timeout": execution.timeout_s,
        "retries": 0,
        "resize_mode": "no",
        "disable_all_reencoding": True,
        "extract_exif": False,
        "compute_hash": "sha256",
        "incremental_mode": "incremental",
        "user_agent_token": "openmedq",
    }
    path = os.pathsep.join(filter(None, [str(Path(openmedq.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    patience_s = NUM_TIMEOUTS * execution.timeout_s * (BUFFER_ROWS / num_threads + 1)  # every image of a buffer slow
    with (work / LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", _PROGRAM, json.dumps(arguments)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _watch(process, work / OUTPUT, patience_s, collect)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    collect()
    if process.returncode:
        raise AcquisitionError(
            f"img2dataset failed: {_last_line(work / LOG)}; complete shards are kept; run the command again"
        )


def _watch(process: subprocess.Popen[bytes], output: Path, patience_s: float, collect: Callable[[], None]) -> None:
    """Wait for the end; TemporaryError if no output grows: img2dataset waits for ever for workers that were killed."""
    written, since = 0, time.monotonic()
    while process.poll() is None:
        time.sleep(POLL_S)
        collect()
        now = sum(path.stat().st_mtime_ns for path in output.glob("*.parquet"))
        if now != written:
            written, since = now, time.monotonic()
        if time.monotonic() - since > patience_s:
            raise TemporaryError(f"img2dataset wrote nothing for {patience_s:.0f} s; run the command again")


def _collect(work: Path, sizes: Sizes, folder: Path) -> int:
    """Move the complete shards, which have statistics beside them, to `folder`; returns the number of their rows."""
    num_rows = 0
    for statistics in sorted((work / OUTPUT).glob("*_stats.json")):
        number = statistics.name.removesuffix("_stats.json")
        target = folder / f"{work.name}-{number}.parquet"
        if target.exists():
            continue
        try:
            num_rows += _check_shard(work / OUTPUT / f"{number}.parquet", sizes, target)
        except (pa.ArrowInvalid, FileNotFoundError):  # as a power failure leaves it
            statistics.unlink()
    return num_rows


def _check_shard(shard: Path, sizes: Sizes, target: Path) -> int:
    """Write a shard with an outcome for each row, and delete img2dataset's; returns the number of rows."""
    temporary = target.with_name(f".{target.name}")
    num_rows = 0
    columns = ["name", "address", "status", "error_message", "sha256", "jpg"]
    with (
        pq.ParquetFile(shard) as read,
        pq.ParquetWriter(
            temporary, SCHEMA, compression={"picture": "none"}, use_dictionary=False, write_page_checksum=True
        ) as out,
    ):
        for number in range(read.num_row_groups):
            group = read.read_row_group(number, columns=columns).to_pylist()
            rows = [_check_row(row, sizes.get(row["name"])) for row in group]
            table = pa.Table.from_pylist(rows, SCHEMA)
            out.write_table(table, row_group_size=max(1, len(rows) * GROUP_BYTES // max(GROUP_BYTES, table.nbytes)))
            num_rows += len(rows)
    temporary.replace(target)
    shard.unlink()
    return num_rows


def _check_row(row: dict[str, Any], size_bytes: int | None) -> dict[str, Any]:
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
    found = {"name": row["name"], "url": row["address"], "status": status}
    if status is Status.SUCCESS:
        return found | {"error_message": None, "sha256": row["sha256"], "picture": data}
    return found | {"error_message": message, "sha256": None, "picture": None}


def _last_line(log: Path) -> str:
    """The last error in a log, else its last line."""
    lines = list(filter(None, map(str.strip, re.split(r"[\r\n]+", log.read_text(encoding="utf-8", errors="replace")))))
    errors = [line for line in lines if "error" in line.lower()]
    return next(reversed(errors or lines), "no reason given")
