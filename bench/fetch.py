"""Download speed of openmedq beside curl and img2dataset, from one loopback server in the same run.

One large file, as a card lists it, and many small images, as a dataset's files list them, are downloaded by

    openmedq      `fetch.fetching.fetch`: sha256 checked, renamed when complete
    curl          `curl`, then `sha256sum` (the large file)
    img2dataset   unchanged (`disable_all_reencoding`), with sha256, without EXIF (the images)

The server is a process that keeps connections open and sends validators, as public servers do. All write to one file
system (`TMPDIR`), in turns; the median of the rounds counts. Only the large file is deleted between rounds: after many
deletions ext4 creates files slowly.

Start-up and imports are excluded. Both run with several settings (openmedq: connections; img2dataset: processes x
threads, and output format), and the best of each is compared.
"""

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apart

LARGE = "large.bin"
SIDES_PX = (140, 240)  # of images of noise, of 20 to 60 kB
CONNECTIONS = (4, 8, 16)  # of openmedq
SETTINGS = [(1, 32, "parquet"), (2, 16, "parquet"), (2, 64, "parquet"), (2, 16, "files")]  # processes, threads, output


def main() -> None:
    """Measure all programs and print two tables; with `--one`, be the server or one program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the large file")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, *rest = arguments.one
        programs: dict[str, Callable[..., object]] = {
            "serve": serve,
            "openmedq": fetch,
            "img2dataset": fetch_with_img2dataset,
        }
        print(json.dumps(programs[name](*rest)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TMPDIR"] = name  # img2dataset leaves folders in it
        published = folder / "published"
        generate(published, arguments.megabytes, arguments.images)
        with server(published) as base:
            measure_large(base, folder, arguments)
            measure_images(base, folder, arguments)


def generate(published: Path, num_megabytes: int, num_images: int) -> None:
    """Write the files to serve, and `files.json` with size and sha256 of each."""
    import numpy as np
    import PIL.Image

    published.mkdir()
    chance = random.Random(0)
    with (published / LARGE).open("wb") as file:
        for _ in range(num_megabytes):
            file.write(chance.randbytes(10**6))
    noise = np.random.default_rng(0)
    for number in range(num_images):
        side_px = int(noise.integers(*SIDES_PX))
        image = PIL.Image.fromarray(noise.integers(0, 256, (side_px, side_px, 3), np.uint8))
        image.save(published / f"{number:06}.jpg", quality=90)
    found = {}
    for path in sorted(published.iterdir()):
        with path.open("rb") as file:
            found[path.name] = (path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
    (published / "files.json").write_text(json.dumps(found))


def measure_large(base: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Download the large file in each round, and print the seconds."""
    seconds: dict[str, list[float]] = {"openmedq": [], "curl, sha256sum": [], "curl alone": []}
    for number in range(arguments.rounds):
        scratch = folder / f"large-{number}"
        found = apart.run(__file__, "openmedq", base, folder / "published", scratch, 1, "large")
        seconds["openmedq"].append(found["seconds"])
        shutil.rmtree(scratch)
        target = folder / LARGE
        start = time.perf_counter()
        subprocess.run(["curl", "-sS", "-o", target, f"{base}/{LARGE}"], check=True)
        seconds["curl alone"].append(time.perf_counter() - start)
        subprocess.run(["sha256sum", target], check=True, stdout=subprocess.DEVNULL)
        seconds["curl, sha256sum"].append(time.perf_counter() - start)
        target.unlink()
    print(f"one file of {arguments.megabytes} MB: seconds, median of {arguments.rounds} rounds, minimum and maximum")
    for way, each in seconds.items():
        print(f"  {way:<28} {apart.summarize(each, '.2f')}")
    ratio = statistics.median(seconds["curl, sha256sum"]) / statistics.median(seconds["openmedq"])
    print(f"  openmedq is {ratio:.2f} times as fast as curl followed by sha256sum\n", flush=True)


def measure_images(base: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Download the images in each round, and print images per second."""
    ways: dict[str, tuple[Any, ...]] = {f"openmedq {each}": ("openmedq", each, "images") for each in CONNECTIONS}
    ways |= {"img2dataset {}x{} {}".format(*each): ("img2dataset", *each) for each in SETTINGS}
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(arguments.rounds):
        for way, (name, *setting) in ways.items():
            scratch = folder / f"{way} {number}"
            found = apart.run(__file__, name, base, folder / "published", scratch, *setting)
            if found["num"] != arguments.images:
                raise SystemExit(f"error: {way}: {found['num']} of {arguments.images} images")
            speeds[way].append(found["num"] / found["seconds"])
    print(f"{arguments.images} images: images/s, median of {arguments.rounds} rounds, minimum and maximum")
    for way, each in speeds.items():
        print(f"  {way:<28} {apart.summarize(each, '.0f')}")
    best = {
        name: max(statistics.median(each) for way, each in speeds.items() if way.startswith(name))
        for name in ("openmedq", "img2dataset")
    }
    print(f"  openmedq is {best['openmedq'] / best['img2dataset']:.2f} times as fast as img2dataset, each at its best")


def fetch(base: str, published: str, scratch: str, connections: str, what: str) -> dict[str, float]:
    """Measure `fetch`, from the check for present files to the last recorded hash."""
    from openmedq.config import Download, Execution
    from openmedq.datasets.card import Access, Card, File
    from openmedq.fetch import fetching
    from openmedq.schema import Task

    known = json.loads(Path(published, "files.json").read_text())
    files = [
        File(path=name, url=f"{base}/{name}", sha256=sha256, size_bytes=size_bytes)
        for name, (size_bytes, sha256) in known.items()
        if (name == LARGE) == (what == "large")
    ]
    is_listed = what == "large"
    texts = {"id": "bench", "title": "Bench", "homepage": base, "citation": "", "licence": "CC0-1.0"}
    kind = {"access": Access.OPEN, "task": Task.CAPTION, "modality": "mixed", "roles": {}, "published_rows": {}}
    card = Card(**texts, **kind, files=tuple(files) if is_listed else ())
    dataset: Any = SimpleNamespace(card=card, more_files=lambda raw: iter(() if is_listed else files))
    Path(scratch).mkdir()
    os.chdir(scratch)
    execution = Execution(connections=int(connections))
    found, times = apart.measure(lambda: fetching.fetch(dataset, Download(), execution))
    return {"num": len(found.files), **times}


def fetch_with_img2dataset(
    base: str, published: str, scratch: str, processes: str, threads: str, output: str
) -> dict[str, float]:
    """Measure img2dataset."""
    urls = [f"{base}/{name}" for name in json.loads(Path(published, "files.json").read_text()) if name != LARGE]
    Path(scratch).mkdir()
    options = {"resize_mode": "no", "disable_all_reencoding": True, "extract_exif": False}
    return apart.run_img2dataset(
        urls, Path(scratch), int(processes), thread_count=int(threads), output_format=output, **options
    )


@contextmanager
def server(published: Path) -> Iterator[str]:
    """Serve a folder in its own process; yields the base URL."""
    command = [sys.executable, __file__, "--one", "serve", str(published)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def serve(published: str) -> None:
    """Answer GETs with a thread per connection and `sendfile`."""

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
