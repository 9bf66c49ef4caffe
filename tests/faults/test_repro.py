"""After a cut connection and after a killed process, the next `dvc repro` resumes the download."""

import os
import random
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Project, checkout
from tests.processes import find_stages, wait
from tests.servers import Server, faults, serve

pytestmark = pytest.mark.faults

SET_ID = "fifteenth"
HOST = "data.example.org"
SIZE_BYTES = 6_000_000
DATA = {name: random.Random(name).randbytes(SIZE_BYTES) for name in ("first.bin", "second.bin")}
NAME = "first.bin"
PLACE = f"{HOST}/{NAME}"
RAW = Path("data/raw") / SET_ID
REPRO = ("dvc", "repro", f"download@{SET_ID}")
BUFFER_BYTES = 2**13  # of an open file that may not be written yet

MODULE = f'''"""A fifteenth set: two files on a plain host, without published sizes and hashes."""

from collections.abc import Iterator
from pathlib import Path

from openmedq.datasets.card import Access, Card, File
from openmedq.schema import Rejected, Role, Sample, Task

card = Card(
    id="{SET_ID}",
    title="Fifteenth",
    homepage="https://{HOST}/",
    citation="A. Author, Two files, 2026",
    licence="CC0-1.0",
    access=Access.OPEN,
    task=Task.VQA,
    modality="radiology",
    files=tuple(File(path=name, url=f"https://{HOST}/{{name}}") for name in {tuple(DATA)}),
    roles={{"train": Role.TRAIN}},
    published_rows={{"train": 1}},
)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Nothing."""
    yield from ()
'''


def make(folder: Path, server: Server) -> Project:
    """A checkout with one more dataset, which downloads from the server and attempts each request once."""
    project = checkout(folder)
    (project.root / "openmedq" / "datasets" / f"{SET_ID}.py").write_text(MODULE, encoding="utf-8")
    project.change("openmedq/datasets/registry.py", "MODULES = {", f'MODULES = {{"{SET_ID}": "{SET_ID}",')
    (project.root / "mirror").mkdir()
    project.run("python", "-m", "openmedq", "catalogue")
    project.change("params.yaml", "mirror: data/miniature", "mirror: mirror")
    project.change("params.yaml", "fetch: false", "fetch: true")
    project.change("params.yaml", "attempts: 6", "attempts: 1")
    project.change("params.yaml", "endpoints: {}", f"endpoints: {server.endpoints}")
    project.run("dvc", "repro", "manifest")
    return project


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
def test_a_download_resumes_after_a_cut_and_after_a_kill(tmp_path: Path) -> None:
    with serve({f"https://{HOST}/{name}": data for name, data in DATA.items()}) as server:
        project = make(tmp_path, server)
        part, files = project.root / RAW / ".partial" / NAME, project.root / RAW / "files"

        server.faults[:] = [faults.cut(SIZE_BYTES // 3).on(PLACE)]
        said = project.run(*REPRO, code=255)
        (line,) = re.findall(r"^error: .*$", said, re.MULTILINE)
        assert f"{NAME}: https://{PLACE}: the connection was cut (attempt 1); partial data is kept" in line
        assert "Traceback" not in said
        assert "exited with 75" in said
        assert 0 < (kept := part.stat().st_size) <= SIZE_BYTES // 3

        server.faults[:] = [faults.stall(SIZE_BYTES // 3).on(PLACE)]
        kill_dvc(project, lambda: part.stat().st_size > kept + SIZE_BYTES // 3 - BUFFER_BYTES)
        assert not (files / NAME).exists() and not (project.root / RAW / "origin.json").exists()

        server.faults.clear()
        kept, num_before = part.stat().st_size, len(server.asked())
        assert f"Running stage 'download@{SET_ID}'" in project.run(*REPRO)
        (last,) = server.asked()[num_before:]
        assert (last.place, last.headers["Range"]) == (PLACE, f"bytes={kept}-")
        assert (last.status, last.num_bytes) == (206, SIZE_BYTES - kept), "no byte is sent twice"
        assert {path.name: path.read_bytes() for path in files.iterdir()} == DATA
        assert not part.parent.exists()

        assert f"Stage 'download@{SET_ID}' didn't change, skipping" in project.run(*REPRO)
        assert len(server.asked()) == num_before + 1, "a third repro sends no request"
        assert project.attempts == [], "no process used the network"


def kill_dvc(project: Project, is_time: Callable[[], bool]) -> None:
    """Start `dvc repro`, and kill dvc alone in the middle: the stage ends with it."""
    with (project.root.parent / "repro.log").open("wb") as log:
        dvc = subprocess.Popen(
            REPRO,
            cwd=project.root,
            env={**project.environment, "SHELL": "/bin/sh"},  # which may stay between dvc and the stage
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait(is_time, "the part is written")
    finally:
        os.kill(dvc.pid, signal.SIGKILL)
    dvc.wait(60)
    wait(lambda: not find_stages("download", project.root), "the stage is gone")
