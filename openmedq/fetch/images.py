"""Pictures by address, many of them: through img2dataset, a round for all and further ones for what may come later.

A round lies aside in a numbered folder: its list of addresses, and what img2dataset writes. Each of its shards that is
whole is held to be pictures and takes its place in the target's folder, which tells then what is left to ask for.
img2dataset's own retries are left alone: they come at once, and for what is gone too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import openmedq
from openmedq.config import Execution
from openmedq.errors import AcquisitionError, PassingError
from openmedq.fetch.client import PASSING, pause_s
from openmedq.fetch.img2dataset_process import NUM_TIMEOUTS
from openmedq.storage.fetched import SCHEMA, Outcomes, Status, read_outcomes
from openmedq.storage.progress import progress
from openmedq.storage.publish import remove

SHARD_ROWS = 1_000  # what an interruption costs at most; img2dataset's processes are new after five shards each
GROUP_BYTES = 16 * 2**20  # of pictures that a reader takes into memory at once
BUFFER_ROWS = 100  # img2dataset writes so many at once
POLL_S = 0.2
URLS, OUTPUT, LOG = "urls.parquet", "output", "log.txt"

_PROGRAM = "openmedq.fetch.img2dataset_process"
_STATUS = re.compile(r"HTTP Error (\d{3})")
_DISALLOWED = "X-Robots-Tag"  # img2dataset heeds it
_PICTURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|II\*\0|MM\0\*|BM|RIFF....WEBP", re.DOTALL)

Place = Callable[[str], str]
Sizes = Mapping[str, int]  # in bytes, by name, where they are known


def fetch(
    addresses: Mapping[str, str], sizes: Sizes, folder: Path, aside: Path, place: Place, execution: Execution
) -> None:
    """Fetch pictures (name -> address) into shards in `folder`; `io.fetched.read_outcomes` tells what became of each.

    What came, or can't come, is not asked for again; what is not of the size that is known of it did not come. `place`
    says where an address is asked for.

    Raises:
        PassingError: img2dataset left something undone; what came is kept.
        AcquisitionError: it could not be run, or an address is none.
    """
    num_rounds = 0
    while True:
        for begun in sorted(aside.glob(f"*/{URLS}")):  # by an interrupted run too
            _finish(begun.parent, sizes, folder, execution)
        outcomes = read_outcomes(folder)
        left = {name: url for name, url in addresses.items() if not is_settled(name, outcomes)}
        if not left or num_rounds == execution.attempts:
            return
        if num_rounds:
            time.sleep(pause_s(num_rounds, execution.backoff_s))
        num_rounds += 1
        _begin(aside / _next_number(folder), left, place)


def is_settled(name: str, outcomes: Outcomes) -> bool:
    """Whether a picture came, or never will."""
    return name in outcomes and outcomes[name][0] is not Status.NOT_NOW


def _next_number(folder: Path) -> str:
    numbers = (int(path.name.partition("-")[0]) for path in folder.glob("[0-9]*-*.parquet"))
    return f"{max(numbers, default=-1) + 1:04}"


def _begin(work: Path, addresses: Mapping[str, str], place: Place) -> None:
    """Write a round's list. It stays as it is until the round is finished: shards are known by their rows' numbers."""
    for address in addresses.values():
        if not address.startswith(("https://", "http://")):
            raise AcquisitionError(f"{address}: neither an https nor an http address; refused")
    remove(work)
    work.mkdir(parents=True)
    rows = {"name": list(addresses), "address": list(addresses.values()), "url": list(map(place, addresses.values()))}
    pq.write_table(pa.table(rows), work / f".{URLS}")
    (work / f".{URLS}").replace(work / URLS)


def _finish(work: Path, sizes: Sizes, folder: Path, execution: Execution) -> None:
    """Have a round's list fetched, but for the shards that are there."""
    num_rows: int = pq.read_metadata(work / URLS).num_rows
    folder.mkdir(parents=True, exist_ok=True)

    def num_left() -> int:
        return -(-num_rows // SHARD_ROWS) - len(list(folder.glob(f"{work.name}-*.parquet")))

    _collect(work, sizes, folder)
    if num_left():
        with progress("fetching pictures", num_left() * SHARD_ROWS) as advance:
            _run(work, execution, lambda: advance(_collect(work, sizes, folder)))
    if num_left():
        raise PassingError(f"img2dataset left pictures undone: {_last_line(work / LOG)}; run the command again")
    remove(work)


def _run(work: Path, execution: Execution, look: Callable[[], None]) -> None:
    """Run img2dataset over a round's list; `look` is called every now and then, and at the end."""
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
    patience_s = NUM_TIMEOUTS * execution.timeout_s * (BUFFER_ROWS / num_threads + 1)  # a buffer's all take too long
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
            _watch(process, work / OUTPUT, patience_s, look)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    look()
    if process.returncode:
        raise AcquisitionError(f"img2dataset failed: {_last_line(work / LOG)}; what came is kept")


def _watch(process: subprocess.Popen[bytes], output: Path, patience_s: float, look: Callable[[], None]) -> None:
    """Wait for the end; PassingError where nothing is written any more: img2dataset waits for killed workers."""
    written, since = 0, time.monotonic()
    while process.poll() is None:
        time.sleep(POLL_S)
        look()
        now = sum(path.stat().st_mtime_ns for path in output.glob("*.parquet"))
        if now != written:
            written, since = now, time.monotonic()
        if time.monotonic() - since > patience_s:
            raise PassingError(f"img2dataset wrote nothing for {patience_s:.0f} s; what came is kept, run it again")


def _collect(work: Path, sizes: Sizes, folder: Path) -> int:
    """Take the round's whole shards to `folder`; the number of their rows. img2dataset's statistics say which are."""
    num_rows = 0
    for statistics in sorted((work / OUTPUT).glob("*_stats.json")):
        number = statistics.name.removesuffix("_stats.json")
        target = folder / f"{work.name}-{number}.parquet"
        if target.exists():
            continue
        try:
            num_rows += _settle(work / OUTPUT / f"{number}.parquet", sizes, target)
        except (pa.ArrowInvalid, FileNotFoundError):  # as a machine that lost its power leaves it
            statistics.unlink()
    return num_rows


def _settle(shard: Path, sizes: Sizes, target: Path) -> int:
    """Write a shard with each row's outcome, and remove the one that it was made from; the number of rows."""
    aside = target.with_name(f".{target.name}")
    num_rows = 0
    columns = ["name", "address", "status", "error_message", "sha256", "jpg"]
    with (
        pq.ParquetFile(shard) as read,
        pq.ParquetWriter(aside, SCHEMA, compression={"picture": "none"}, use_dictionary=False) as out,
    ):
        for place in range(read.num_row_groups):
            group = read.read_row_group(place, columns=columns).to_pylist()
            rows = [_judge(row, sizes.get(row["name"])) for row in group]
            table = pa.Table.from_pylist(rows, SCHEMA)
            out.write_table(table, row_group_size=max(1, len(rows) * GROUP_BYTES // max(GROUP_BYTES, table.nbytes)))
            num_rows += len(rows)
    aside.replace(target)
    shard.unlink()
    return num_rows


def _judge(row: dict[str, Any], size_bytes: int | None) -> dict[str, Any]:
    """A row of img2dataset's with its outcome; a picture only where it is one, and as long as it is listed."""
    data, message = row["jpg"], row["error_message"] or ""
    status = Status.NOT_NOW
    if row["status"] == "success":
        if not _PICTURE.match(data):
            status, message = Status.NO_PICTURE, "not a picture"
        elif size_bytes not in (None, len(data)):  # cut where no length was told, or under a length of its own
            message = "not as long as it is listed"
        elif hashlib.sha256(data).hexdigest() == row["sha256"]:
            status = Status.SUCCESS
    elif _DISALLOWED in message or ((found := _STATUS.match(message)) and int(found[1]) not in PASSING):
        status = Status.GONE
    is_here = status is Status.SUCCESS
    return {
        "name": row["name"],
        "url": row["address"],
        "status": status,
        "error_message": None if is_here else message,
        "sha256": row["sha256"] if is_here else None,
        "picture": data if is_here else None,
    }


def _last_line(log: Path) -> str:
    """What a log ends with: its last error, where it tells one."""
    lines = list(filter(None, map(str.strip, re.split(r"[\r\n]+", log.read_text(encoding="utf-8", errors="replace")))))
    errors = [line for line in lines if "error" in line.lower()]
    return next(reversed(errors or lines), "it gave no reason")
