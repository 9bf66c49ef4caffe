"""img2dataset itself: a killed run ends with all its processes and resumes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openmedq.fetch.pmc import BUCKET
from openmedq.storage.fetched import LINKED_IMAGES, FetchedImages
from tests.fetch.test_images import HOST
from tests.processes import wait
from tests.servers import faults, serve

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]

KILLED = """
import sys
from pathlib import Path
from openmedq.config import Execution
from openmedq.fetch import images
from openmedq.datasets.card import LinkedImage

images.SHARD_ROWS = 10
linked = [LinkedImage(f"{number:02}.jpg", "PMC1", f"{number:02}.jpg") for number in range(25)]
if __name__ == "__main__":
    endpoints = {"pmc-oa-opendata.s3.amazonaws.com": sys.argv[1]}
    settings = Execution(connections=2, timeout_s=30, backoff_s=0.01, endpoints=endpoints)
    images.fetch(linked, Path("pictures"), Path("temporary"), settings)
"""


def test_a_killed_run_ends_whole_and_resumes(project: Path) -> None:
    names = [f"{number:02}.jpg" for number in range(25)]
    published = {f"{BUCKET}/PMC1.1/{name}": b"\xff\xd8\xff" + name.encode() * 500 for name in names}
    with serve(published) as server:
        slow = [faults.stall(10, seconds=60).on(f"{HOST}/PMC1.1/{name}") for name in names[22:]]
        once = [faults.status(503).on(f"{HOST}/PMC1.1/{name}", times=1) for name in names[:3]]
        server.faults[:] = [*slow, *once]
        (project / "killed.py").write_text(KILLED)
        command = [sys.executable, "killed.py", server.endpoints[HOST]]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, env=environment) as running:
            for shard in ("00000", "00001"):
                wait(lambda name=shard: (project / LINKED_IMAGES / f"{name}.parquet").exists(), f"{shard} is complete")
            wait(
                lambda: any(each.num_bytes for each in server.asked(f"{HOST}/PMC1.1/22.jpg")),
                "a slow image is asked for",
            )
            started = set(descendants(running.pid))
            assert len(started) >= 3
            running.kill()
        wait(lambda: not any((Path("/proc") / str(pid)).exists() for pid in started), "all processes end")
        assert len(list((project / LINKED_IMAGES).glob("*.parquet"))) == 2

        server.faults[:] = []
        num_before = len(server.requests)
        subprocess.run(command, env=environment, check=True, timeout=120)
        asked = {request.path.rpartition("/")[2] for request in server.requests[num_before:]} - {""}
    assert asked == {*names[:3], *names[20:]}
    found = FetchedImages(project / LINKED_IMAGES)
    for name in names:
        image = found.find(name)
        assert image.data == published[f"{BUCKET}/PMC1.1/{name}"]


def descendants(pid: int) -> Iterator[int]:
    for child in (Path("/proc") / str(pid)).glob("task/*/children"):
        for number in map(int, child.read_text().split()):
            yield number
            yield from descendants(number)
