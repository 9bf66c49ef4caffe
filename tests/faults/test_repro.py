"""After a cut connection or a killed process, the next `dvc repro` resumes the download."""

import os
import random
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Project
from tests.faults import fifteenth
from tests.faults.fifteenth import DATA, FILES, HOST, PARTIAL, SET_ID, SITE, SIZE_BYTES
from tests.processes import find_stages, wait
from tests.servers import Server, faults, serve

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("fifteenth")]

NAME = "first.bin"
PLACE = f"{HOST}/{NAME}"
REPRO = ("dvc", "repro", f"download@{SET_ID}")
BUFFER_BYTES = 2**13  # of an open file that may not be written yet


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return fifteenth.make(tmp_path_factory.mktemp("fifteenth"))


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(SITE) as running:
        yield running


@pytest.fixture
def project(template: Project, server: Server, tmp_path: Path) -> Project:
    return fifteenth.copy(template, tmp_path, server)


def go_on(project: Project, server: Server) -> None:
    """Run `dvc repro` twice: the first downloads only the missing bytes, the second nothing."""
    server.faults.clear()
    before = server.asked()
    kept = (project.root / PARTIAL / NAME).stat().st_size
    assert 0 < kept < SIZE_BYTES
    assert not (project.root / FILES / NAME).exists()
    assert not (project.root / fifteenth.RAW / "origin.json").exists()

    said = project.run(*REPRO)
    assert f"Running stage 'download@{SET_ID}'" in said
    asked = server.asked()[len(before) :]
    assert [request.place for request in asked] == [PLACE]
    assert asked[0].headers["Range"] == f"bytes={kept}-"
    assert (asked[0].status, asked[0].num_bytes) == (206, SIZE_BYTES - kept), "no byte is sent twice"
    assert {path.name: path.read_bytes() for path in (project.root / FILES).iterdir()} == DATA
    assert not (project.root / PARTIAL).exists()

    said = project.run(*REPRO)
    assert f"Stage 'download@{SET_ID}' didn't change, skipping" in said
    assert len(server.asked()) == len(before) + 1, "a third repro sends no request"
    assert project.attempts == [], "no process used the network"


def test_a_cut_connection(project: Project, server: Server) -> None:
    at = random.Random(0).randrange(SIZE_BYTES // 10, SIZE_BYTES)
    server.faults.append(faults.cut(at).on(PLACE, times=1))
    said = project.run(*REPRO, code=255)
    (line,) = re.findall(r"^error: .*$", said, re.MULTILINE)
    assert f"{NAME}: https://{PLACE}: the connection was cut (attempt 1); partial data is kept" in line
    assert "Traceback" not in said
    assert "exited with 75" in said
    assert (project.root / PARTIAL / NAME).read_bytes() == DATA[NAME][: (project.root / PARTIAL / NAME).stat().st_size]
    assert (project.root / PARTIAL / NAME).stat().st_size <= at
    go_on(project, server)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
@pytest.mark.parametrize("whom", ["stage", "dvc", "group"])
def test_kill_9(whom: str, project: Project, server: Server) -> None:
    at = random.Random(whom).randrange(SIZE_BYTES // 10, SIZE_BYTES)
    server.faults.append(faults.stall(at).on(PLACE, times=1))
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
        server.wait(PLACE, num_bytes=at, timeout_s=60)
        wait(lambda: _size(project.root / PARTIAL / NAME) > at - BUFFER_BYTES, "the part is written")
        wait((project.root / FILES / "second.bin").exists, "the other file is whole")
        (stage,) = find_stages("download", project.root)
    except BaseException:
        os.killpg(dvc.pid, signal.SIGKILL)
        raise
    if whom == "group":
        os.killpg(dvc.pid, signal.SIGKILL)
    else:
        os.kill(stage if whom == "stage" else dvc.pid, signal.SIGKILL)
    assert dvc.wait(60) != 0
    wait(lambda: not find_stages("download", project.root), "the stage is gone")
    go_on(project, server)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
