import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from openmedq.errors import DiskFullError
from openmedq.paths import PARTIAL
from openmedq.storage.publish import publish, replacing
from tests.processes import wait

pytestmark = pytest.mark.usefixtures("empty_folder")

TARGET = Path("data/samples/toy")

WRITER = """
import sys, time
from pathlib import Path
from openmedq.storage.publish import publish

name, seconds = sys.argv[1:]
log = Path("log").open("a", buffering=1)
with publish(Path("data/samples/toy")) as folder:
    log.write(f"+{name}\\n")
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.txt").write_text(name)
        time.sleep(float(seconds) / 4)
    log.write(f"-{name}\\n")
"""


def _start(name: str, seconds: float) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", WRITER, name, str(seconds)], env=environment, stderr=subprocess.PIPE)


def _write(text: str) -> None:
    with publish(TARGET) as folder:
        folder.mkdir()
        (folder / "0.txt").write_text(text)


def test_an_output_replaces_the_one_before() -> None:
    (PARTIAL / "data-samples-toy").mkdir(parents=True)  # of a writer that was killed
    (PARTIAL / "data-samples-toy/half.txt").touch()
    _write("first")
    (TARGET / "stale.txt").write_text("left over")
    _write("second")
    assert [path.read_text() for path in TARGET.iterdir()] == ["second"]
    assert [path.suffix for path in PARTIAL.iterdir()] == [".lock"]
    assert [path.name for path in PARTIAL.iterdir()] == ["data-samples-toy.lock"]


@pytest.mark.usefixtures("folders_are_disks")
def test_an_output_may_be_on_another_disk() -> None:
    for text in ("first", "second"):
        _write(text)
        assert [path.read_text() for path in TARGET.iterdir()] == [text]
        assert [*TARGET.parent.iterdir()] == [TARGET]
        assert [path.name for path in PARTIAL.iterdir()] == ["data-samples-toy.lock"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt(), ValueError()])
def test_a_failure_leaves_the_output_as_it_was(error: BaseException) -> None:
    _write("first")
    with pytest.raises(type(error)), publish(TARGET) as folder:
        folder.mkdir()
        (folder / "0.txt").write_text("half")
        raise error
    assert (TARGET / "0.txt").read_text() == "first"
    assert not (PARTIAL / "data-samples-toy").exists()


def test_writers_take_turns() -> None:
    writers = [_start("a", 1.5)]
    wait((PARTIAL / "data-samples-toy").is_dir, "a writer begins")
    writers += [_start(name, 0.2) for name in "bc"]
    said = [writer.communicate()[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    lines = Path("log").read_text().split()
    assert sorted(lines) == ["+a", "+b", "+c", "-a", "-b", "-c"]
    assert all(start[1] == end[1] for start, end in zip(lines[::2], lines[1::2], strict=True))
    assert len({path.read_text() for path in TARGET.iterdir()}) == 1
    assert said[0] == ""
    assert "data/samples/toy: another process is writing it; waiting\n" in said[1]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),  # safetensors
        sqlite3.OperationalError("database or disk is full"),
        shutil.Error([("a", "b", "[Errno 28] No space left on device")]),
    ],
    ids=str,
)
@pytest.mark.parametrize(("write", "place"), [(publish, PARTIAL.parent), (replacing, TARGET.parent)])
def test_a_full_disk_is_told_and_leaves_what_was_there(error: Exception, write: Any, place: Path) -> None:
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text("old")
    said = rf"^{TARGET}: no space left on the disk of {place} \(.* MB free\); free some space"
    with pytest.raises(DiskFullError, match=said), write(TARGET) as temporary:
        temporary.write_text("half")
        raise error
    assert TARGET.read_text() == "old" and not temporary.exists()


def test_an_output_that_can_not_fit_is_not_begun() -> None:
    said = r"no space left .* MB more are needed\); free some space"
    with pytest.raises(DiskFullError, match=said), publish(TARGET, size_bytes=2**60):
        pytest.fail("begun")
