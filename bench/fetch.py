"""How fast files are fetched, beside what people use for it, from one loopback server in the same run.

One large file, as a card lists it, and many small pictures, as a set's first files name them, go through

    openmedq      `acquire.fetching.fetch`: to disk, held to their sha256, renamed once they are whole
    curl          `curl`, then `sha256sum` (the large file)
    img2dataset   unchanged (`disable_all_reencoding`), with their sha256, without EXIF (the pictures)

The server is a process of its own that answers thousands of requests a second; it keeps connections open, and sends
validators as public servers do. All write to one file system (`TMPDIR`). The contenders take turns, and the median of
the rounds counts. Nothing is deleted between them but the large file: ext4 makes new files slowly where others just
went.

Python's start-up and imports are left out; for img2dataset by its own records, as it counts images a second itself:
from the start of its first shard to the end of its last. Both are run with several settings (openmedq: connections;
img2dataset: processes x threads, and what it writes), and the best of each is held against the other's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import socket
import socketserver
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

LARGE = "large.bin"
SIDES_PX = (140, 240)  # of pictures of noise, which take 20 to 60 kB
CONNECTIONS = (4, 8, 16)  # of ours
SETTINGS = [(1, 32, "parquet"), (2, 16, "parquet"), (2, 64, "parquet"), (2, 16, "files")]  # processes, threads, output


def main() -> None:
    """Measure all contenders, and print two tables; or, called by itself, be the server or one contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the large file")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, *rest = arguments.one
        found = {"serve": serve, "openmedq": fetch, "img2dataset": run_img2dataset}[name](*rest)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TMPDIR"] = name  # img2dataset leaves folders behind
        published = folder / "published"
        generate(published, arguments.megabytes, arguments.pictures)
        with server(published) as base:
            measure_large(base, folder, arguments)
            measure_pictures(base, folder, arguments)


def generate(published: Path, num_megabytes: int, num_pictures: int) -> None:
    """Write the files that the server offers, and `files.json`: the size and sha256 of each."""
    import numpy as np
    import PIL.Image

    published.mkdir()
    chance = random.Random(0)
    with (published / LARGE).open("wb") as file:
        for _ in range(num_megabytes):
            file.write(chance.randbytes(10**6))
    noise = np.random.default_rng(0)
    for number in range(num_pictures):
        side_px = int(noise.integers(*SIDES_PX))
        picture = PIL.Image.fromarray(noise.integers(0, 256, (side_px, side_px, 3), np.uint8))
        picture.save(published / f"{number:06}.jpg", quality=90)
    found = {}
    for path in sorted(published.iterdir()):
        with path.open("rb") as file:
            found[path.name] = (path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
    (published / "files.json").write_text(json.dumps(found))


def measure_large(base: str, folder: Path, arguments: argparse.Namespace) -> None:
    """The large file: seconds of each round, and what they come to."""
    seconds: dict[str, list[float]] = {"openmedq": [], "curl, sha256sum": [], "curl alone": []}
    for number in range(arguments.rounds):
        scratch = folder / f"large-{number}"
        found = run_apart("openmedq", base, folder / "published", scratch, 1, "large")
        seconds["openmedq"].append(found["seconds"])
        shutil.rmtree(scratch)
        target = folder / LARGE
        start = time.perf_counter()
        subprocess.run(["curl", "-sS", "-o", target, f"{base}/{LARGE}"], check=True)
        seconds["curl alone"].append(time.perf_counter() - start)
        subprocess.run(["sha256sum", target], check=True, stdout=subprocess.DEVNULL)
        seconds["curl, sha256sum"].append(time.perf_counter() - start)
        target.unlink()
    print(f"one file of {arguments.megabytes} MB: seconds, median of {arguments.rounds} rounds, least and most")
    for way, each in seconds.items():
        print(f"  {way:<28} {tell(each, '.2f')}")
    ratio = statistics.median(seconds["curl, sha256sum"]) / statistics.median(seconds["openmedq"])
    print(f"  openmedq is {ratio:.2f} times as fast as curl followed by sha256sum\n", flush=True)


def measure_pictures(base: str, folder: Path, arguments: argparse.Namespace) -> None:
    """The pictures: pictures a second of each round, and what they come to."""
    ways = {f"openmedq {each}": ("openmedq", each, "pictures") for each in CONNECTIONS}
    ways |= {"img2dataset {}x{} {}".format(*each): ("img2dataset", *each) for each in SETTINGS}
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(arguments.rounds):
        for way, (name, *setting) in ways.items():
            scratch = folder / f"{way} {number}"
            found = run_apart(name, base, folder / "published", scratch, *setting)
            if found["num_files"] != arguments.pictures:
                raise SystemExit(f"error: {way}: {found['num_files']} of {arguments.pictures} pictures")
            speeds[way].append(found["num_files"] / found["seconds"])
    print(f"{arguments.pictures} pictures: pictures/s, median of {arguments.rounds} rounds, least and most")
    for way, each in speeds.items():
        print(f"  {way:<28} {tell(each, '.0f')}")
    best = {
        name: max(statistics.median(each) for way, each in speeds.items() if way.startswith(name))
        for name in ("openmedq", "img2dataset")
    }
    print(f"  openmedq is {best['openmedq'] / best['img2dataset']:.2f} times as fast as img2dataset, each at its best")


def tell(figures: list[float], style: str) -> str:
    """Median, least and most."""
    return "".join(f"{format(each, style):>8}" for each in (statistics.median(figures), min(figures), max(figures)))


def run_apart(*words: object) -> dict[str, float]:
    """Measure one contender in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "NO_ALBUMENTATIONS_UPDATE": "1"}
    command = [sys.executable, __file__, "--one", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def fetch(base: str, published: str, scratch: str, connections: str, what: str) -> dict[str, float]:
    """Ours, all of `fetch`, from the first look for what is here to the last hash written down."""
    from openmedq.config import Download, Execution
    from openmedq.datasets.card import Access, Card, File
    from openmedq.fetch import fetching
    from openmedq.schema import Task

    @dataclass
    class Pictures:
        """As much of a set as fetching sees."""

        card: Card
        further: list[File]

        def more_files(self, raw: Path) -> Iterator[File]:
            yield from self.further

    known = json.loads(Path(published, "files.json").read_text())
    files = [
        File(path=name, url=f"{base}/{name}", sha256=sha256, size_bytes=size_bytes)
        for name, (size_bytes, sha256) in known.items()
        if (name == LARGE) == (what == "large")
    ]
    card = Card(
        id="bench",
        title="Bench",
        homepage=base,
        citation="",
        licence="CC0-1.0",
        access=Access.OPEN,
        task=Task.CAPTION,
        modality="mixed",
        files=tuple(files) if what == "large" else (),
        roles={},
        published_rows={},
    )
    set_ = Pictures(card, [] if what == "large" else files)
    Path(scratch).mkdir()
    os.chdir(scratch)
    start = time.perf_counter()
    found = fetching.fetch(set_, Download(), Execution(connections=int(connections)))  # type: ignore[arg-type]
    return {"seconds": time.perf_counter() - start, "num_files": len(found.files)}


def run_img2dataset(
    base: str, published: str, scratch: str, processes: str, threads: str, output: str
) -> dict[str, float]:
    """The peer; several shards a process, so that none waits long for another at the end."""
    import img2dataset

    names = [name for name in json.loads(Path(published, "files.json").read_text()) if name != LARGE]
    folder = Path(scratch)
    folder.mkdir()
    (folder / "urls.txt").write_text("".join(f"{base}/{name}\n" for name in names))
    img2dataset.download(
        url_list=str(folder / "urls.txt"),
        output_folder=str(folder / "output"),
        processes_count=int(processes),
        thread_count=int(threads),
        number_sample_per_shard=-(-len(names) // (4 * int(processes))),
        output_format=output,
        resize_mode="no",
        disable_all_reencoding=True,
        extract_exif=False,
        compute_hash="sha256",
        disallowed_header_directives=[],
    )
    shards = [json.loads(path.read_text()) for path in (folder / "output").glob("*_stats.json")]
    seconds = max(shard["end_time"] for shard in shards) - min(shard["start_time"] for shard in shards)
    return {"seconds": seconds, "num_files": sum(shard["successes"] for shard in shards)}


@contextmanager
def server(published: Path) -> Iterator[str]:
    """The base URL of a server of a folder's files, in a process of its own."""
    command = [sys.executable, __file__, "--one", "serve", str(published)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def serve(published: str) -> None:
    """Answer GETs, a thread a connection; the kernel moves the bytes."""

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            is_open = True
            while is_open and (request := self.rfile.readline()):
                while (header := self.rfile.readline()).strip():
                    is_open = is_open and header.lower().strip() != b"connection: close"
                with Path(published, request.split()[1].decode().lstrip("/")).open("rb") as file:
                    status = os.fstat(file.fileno())
                    head = (
                        f"HTTP/1.1 200 OK\r\nContent-Length: {status.st_size}\r\n"
                        f"Last-Modified: {formatdate(status.st_mtime, usegmt=True)}\r\n"
                        f'ETag: "{status.st_mtime_ns:x}-{status.st_size:x}"\r\n\r\n'
                    )
                    self.connection.sendall(head.encode(), socket.MSG_MORE)
                    self.connection.sendfile(file)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 512

    with Server(("127.0.0.1", 0), Handler) as answering:
        print(answering.server_address[1], flush=True)
        answering.serve_forever()


if __name__ == "__main__":
    main()
