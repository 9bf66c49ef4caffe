"""Download linked images: shard by shard, find their addresses at PubMed Central, and run img2dataset, in rounds.

Each shard is downloaded by a process of its own, checked and written to the dataset's folder, which shows what is still
missing. img2dataset's own retries are off: they come at once, and for missing images too.
"""

import asyncio
import errno
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
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
from openmedq.fetch.pmc import Address
from openmedq.storage.fetched import LINKED_IMAGES, SCHEMA, Outcomes, Status, add_shard, read_outcomes
from openmedq.storage.folders import find_all
from openmedq.storage.progress import progress
from openmedq.storage.publish import is_disk_full, remove

_log = logging.getLogger(__name__)

NUM_REASONS = 5  # that the summary quotes
SHARD_ROWS = 1_000  # images in memory together, and the most that an interruption discards
URLS, OUTPUT = "urls.parquet", "output"

_PROGRAM = "openmedq.fetch.img2dataset_process"
_STATUS = re.compile(r"HTTP Error (\d{3})")
_DISALLOWED = "X-Robots-Tag"  # img2dataset respects it
_IMAGE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|II\*\0|MM\0\*|BM|RIFF....WEBP", re.DOTALL)


def fetch_linked(
    dataset_id: str, linked: Iterable[LinkedImage], max_missing: float, execution: Execution
) -> list[Path]:
    """Download a dataset's missing linked images; returns the shards with the images.

    An image that does not exist is no error: its rows are rejected. Neither is one that is unavailable now, up to a
    share of `max_missing` of all.

    Raises:
        TemporaryError: more of them, or the bucket, are unavailable now; complete shards are kept.
        AcquisitionError: the bucket's answers have another form, or img2dataset failed.
    """
    folder = needs.folder_of(dataset_id) / LINKED_IMAGES
    remove(folder.with_name("addresses"))  # which earlier versions wrote
    wanted = {image.name: image for image in linked}
    before = read_outcomes(folder)
    fetch([*wanted.values()], folder, paths.RAW / dataset_id / needs.PARTIAL / LINKED_IMAGES, execution)
    after = read_outcomes(folder)
    summary, num_left = _summarize(wanted, after)
    if num_left > max_missing * len(wanted):
        raise TemporaryError(f"{dataset_id}: {summary}{LATER}")
    if num_left or after != before:
        _log.info(f"{dataset_id}: {summary}")
    return find_all(folder, "*.parquet")


def _summarize(names: Iterable[str], outcomes: Outcomes) -> tuple[str, int]:
    """One line on how many images were downloaded, and the number of those that may be available later."""
    found = Counter(outcomes.get(name, (Status.NOT_NOW, "not tried")) for name in names)
    num_all, num_present = found.total(), found.pop((Status.SUCCESS, ""), 0)
    line = f"{num_present} of {num_all} images downloaded"
    if found:
        line += "; failed: " + "; ".join(f"{why} ({number})" for (_, why), number in found.most_common(NUM_REASONS))
    return line, sum(number for (status, _), number in found.items() if status is Status.NOT_NOW)


def fetch(images: Sequence[LinkedImage], folder: Path, temporary: Path, execution: Execution) -> None:
    """Download images to shards in `folder`; `storage.fetched.read_outcomes` reads the outcomes.

    Images that are present, or missing at the host, are not requested again; errors as of `fetch_linked`.
    """
    resolve, listings = Client(execution).resolve, pmc.Listings()
    for num_rounds in range(execution.attempts):
        outcomes, unknown = read_outcomes(folder), (Status.NOT_NOW, "")
        left = [image for image in images if outcomes.get(image.name, unknown)[0] is Status.NOT_NOW]
        if not left:
            return
        if num_rounds:
            time.sleep(pause_s(num_rounds, execution.backoff_s))
        with progress("downloading images", len(left)) as advance:
            for start in range(0, len(left), SHARD_ROWS):
                found = asyncio.run(pmc.locate(left[start : start + SHARD_ROWS], listings, execution))
                named = {address.name: address for address in found if address.url}
                urls = [resolve(address.url or "") for address in named.values()]
                table = pa.table({"name": [*named], "url": urls})
                rows = [_check_row(row, named[row["name"]]) for row in _download(table, temporary, execution)]
                gone = [each for each in found if not each.url]
                rows += [{"name": each.name, "status": Status.GONE, "error_message": each.reason} for each in gone]
                add_shard(pa.Table.from_pylist(rows, SCHEMA), folder)
                advance(len(found))


def _download(shard: pa.Table, work: Path, execution: Execution) -> list[dict[str, Any]]:
    """Download the images of a shard, and return img2dataset's rows.

    Raises:
        AcquisitionError: img2dataset failed.
        OSError: the disk is full.
    """
    if not shard.num_rows:
        return []
    remove(work)
    work.mkdir(parents=True)
    pq.write_table(shard, work / URLS)
    log = _run(work, execution)
    columns = ["name", "status", "error_message", "sha256", "jpg"]
    try:
        rows: list[dict[str, Any]] = pq.read_table(work / OUTPUT / "00000.parquet", columns=columns).to_pylist()
    except (pa.ArrowInvalid, FileNotFoundError):
        if is_disk_full(OSError(log)):  # the last error of the log is another one
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        lines = list(filter(None, map(str.strip, re.split(r"[\r\n]+", log))))
        last = next(reversed([line for line in lines if "error" in line.lower()] or lines), "no reason given")
        raise AcquisitionError(f"img2dataset failed: {last}; complete shards are kept; run the command again") from None
    remove(work)
    return rows


def _run(work: Path, execution: Execution) -> str:
    """Run img2dataset on a list of addresses, and return what it prints."""
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
    return subprocess.run(
        [sys.executable, "-m", _PROGRAM, json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches this process alone, which ends it
    ).stdout


def _check_row(row: dict[str, Any], address: Address) -> dict[str, Any]:
    """A row of SCHEMA from one of img2dataset's; it succeeds only with an image of the listed size."""
    data, message = row["jpg"], row["error_message"] or ""
    status = Status.NOT_NOW
    if row["status"] == "success":
        if not _IMAGE.match(data):
            status, message = Status.NO_IMAGE, "not an image"
        elif address.size_bytes not in (None, len(data)):  # cut, where the server stated no size or a wrong one
            message = "another size than listed"
        elif hashlib.sha256(data).hexdigest() == row["sha256"]:
            status = Status.SUCCESS
    elif _DISALLOWED in message or ((code := _STATUS.match(message)) and int(code[1]) not in RETRYABLE_STATUS):
        status = Status.GONE
    is_image = status is Status.SUCCESS
    outcome = {"sha256": row["sha256"], "picture": data} if is_image else {"error_message": message}
    return {"name": address.name, "url": address.url, "status": status, **outcome}
