"""A full disk is one line of error; partial data is kept, and the download resumes with more room."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.faults import fifteenth
from tests.faults.fifteenth import DATA, FILES, HOST, PARTIAL, SET_ID, SITE
from tests.servers import faults, serve
from tests.servers.small_disk import SmallDisk, small_disk

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("fifteenth")]


PAGE_BYTES = 4096  # of a disk in memory


def sizes(disk: SmallDisk, folder: Path) -> dict[str, int]:
    """Sizes of the files below a folder of the disk, read by a command."""
    listing = disk.wrap(["find", str(folder), "-type", "f", "-printf", "%P %s\\n"])
    said = subprocess.run(listing, check=False, capture_output=True, text=True).stdout
    return {name: int(size) for name, size in (line.rsplit(" ", 1) for line in said.splitlines())}


@pytest.mark.parametrize("room_bytes", [2_800_000, 8_000_000])
def test_a_full_disk(room_bytes: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Room for half of a file, and for one and a half."""
    project = fifteenth.make(tmp_path)
    command = ["python", "-m", "openmedq", "download", SET_ID]
    data, saved = project.root / "data", tmp_path / "saved"
    with serve(SITE, [faults.slow(20e6)]) as server:
        project.change("params.yaml", "endpoints: {}", f"endpoints: {server.endpoints}")
        data.rename(saved)
        data.mkdir()
        taken_bytes = sum(
            -(-path.stat().st_size // PAGE_BYTES) * PAGE_BYTES for path in saved.rglob("*") if path.is_file()
        )
        with pytest.MonkeyPatch.context() as patch, small_disk(data, taken_bytes + room_bytes) as disk:
            patch.chdir(project.root)
            subprocess.run(disk.wrap(["cp", "-r", f"{saved}/.", str(data)]), check=True)

            said = project.run(*disk.wrap(command), code=1)
            (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
            assert "the disk is full; free some" in line
            assert "Traceback" not in said
            whole, kept = sizes(disk, project.root / FILES), sizes(disk, project.root / PARTIAL)
            assert set(whole.values()) <= {fifteenth.SIZE_BYTES}
            assert "origin.json" not in sizes(disk, project.root / fifteenth.RAW)

            disk.grow(40_000_000)
            server.faults.clear()
            before = len(server.requests)
            project.run(*disk.wrap(command))
            asked = {request.place.removeprefix(f"{HOST}/"): request for request in server.asked()[before:]}
            assert set(asked) == DATA.keys() - whole.keys()
            for name, request in asked.items():
                assert request.headers["Range"] == (f"bytes={kept[name]}-" if kept.get(name) else None)
            for name, content in DATA.items():
                shown = subprocess.run(disk.wrap(["cat", str(project.root / FILES / name)]), capture_output=True)
                assert shown.stdout == content
            assert sizes(disk, project.root / PARTIAL) == {}
    assert project.attempts == []
