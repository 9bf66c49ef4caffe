"""`kill -9` of dvc, of the stage, or of both: the next `dvc repro` writes the same bytes, with one writer at a time."""

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import PIL.Image
import pytest
import yaml

from openmedq import paths, synthetic
from openmedq.config.render import render
from openmedq.datasets import catalogue, registry
from openmedq.fetch import download, manifest
from tests.curate.corpus import make_params
from tests.processes import find_stages, wait

pytestmark = [
    pytest.mark.faults,
    pytest.mark.xdist_group("kill"),
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes and their open files in /proc"),
]

OUTPUT = paths.SAMPLES / "vqa_rad"
TEMPORARY = paths.PARTIAL / "data-samples-vqa_rad"
NUM_LARGE = 25  # images that take long to decode, so that there is time to kill
STAGE = {
    "cmd": "python -m openmedq normalize vqa_rad",
    "deps": ["data/raw/vqa_rad"],
    "outs": [str(OUTPUT)],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one stage, which has not run."""
    root = tmp_path_factory.mktemp("kill") / "project"
    with pytest.MonkeyPatch.context() as patch:
        (root / "data").mkdir(parents=True)
        patch.chdir(root)
        vqa_rad = registry.load("vqa_rad")
        paths.CATALOGUE.write_text(catalogue.render({"vqa_rad": vqa_rad.card}, {"vqa_rad": "x.py"}), encoding="utf-8")
        paths.FORGOTTEN.write_text("vqa_rad: []\n", encoding="utf-8")
        synthetic.write("vqa_rad", Path("mirror/vqa_rad"))
        for path in sorted(Path("mirror").rglob("*.jpg"))[:NUM_LARGE]:
            with PIL.Image.open(path) as image:
                large = image.resize((2400, 2400), PIL.Image.Resampling.BICUBIC)
            buffer = io.BytesIO()
            large.save(buffer, "JPEG")
            path.write_bytes(buffer.getvalue())
        params = make_params(download={"mirror": "mirror"})
        paths.PARAMS.write_text(render(params), encoding="utf-8")
        manifest.run(params)
        download.run(params, registry.load("vqa_rad"))
        Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"normalize": STAGE}}))
        Path(".gitignore").write_text("/data\n")
        for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
            subprocess.run(command, check=True)
        Path(".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    return root


@pytest.fixture(scope="module")
def undisturbed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The output of a run that is not killed."""
    root = _copy(project, tmp_path_factory.mktemp("undisturbed"))
    _finish(root, _start_repro(root))
    return _bytes(root)


@pytest.fixture
def root(project: Path, tmp_path: Path) -> Iterator[Path]:
    root = _copy(project, tmp_path)
    yield root
    for process_id in find_stages("normalize", root):  # where the test failed
        os.kill(process_id, signal.SIGKILL)


@pytest.fixture
def most_writers(root: Path) -> Iterator[Callable[[], int]]:
    """Watch which processes have files of the unfinished output open; returns the largest number at one time."""
    counts = [0]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.02):
            counts.append(len(_writers(root)))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield lambda: max(counts)
    is_over.set()
    watcher.join()


@pytest.mark.parametrize("whom", ["dvc", "stage", "group"])
def test_the_next_repro_gives_the_same_bytes(
    whom: str, root: Path, undisturbed: dict[str, bytes], most_writers: Callable[[], int]
) -> None:
    dvc = _start_repro(root)
    (stage,) = _wait_for_writer(root)
    if whom == "group":
        os.killpg(dvc.pid, signal.SIGKILL)
    else:
        os.kill(dvc.pid if whom == "dvc" else stage, signal.SIGKILL)
    dvc.wait(60)
    assert dvc.returncode != 0
    assert not (root / OUTPUT).exists()

    _finish(root, _start_repro(root))
    assert _bytes(root) == undisturbed
    assert most_writers() == 1
    assert not (root / TEMPORARY).exists()


def test_a_second_repro_waits_for_an_orphan(
    root: Path, undisturbed: dict[str, bytes], most_writers: Callable[[], int]
) -> None:
    """An orphan that is stopped, and so has not noticed that its dvc ended, still holds the lock of the output."""
    dvc = _start_repro(root)
    (orphan,) = _wait_for_writer(root)
    os.kill(orphan, signal.SIGSTOP)
    os.kill(dvc.pid, signal.SIGKILL)
    dvc.wait(60)

    second = _start_repro(root)
    wait(lambda: len(find_stages("normalize", root)) == 2, "the second stage starts")
    time.sleep(2)
    assert second.poll() is None
    assert _writers(root) == {orphan}
    os.kill(orphan, signal.SIGCONT)
    _finish(root, second)
    assert _bytes(root) == undisturbed
    assert most_writers() == 1


def _copy(project: Path, folder: Path) -> Path:
    return Path(shutil.copytree(project, folder / "project", symlinks=True))


def _bytes(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / OUTPUT).iterdir())}


def _start_repro(root: Path) -> subprocess.Popen[bytes]:
    """Start `dvc repro` as the leader of a process group. It prints to a file, which an orphan may keep open."""
    package = str(Path(__file__).parents[2])
    with (root / "repro.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro"],
            cwd=root,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH")))),
                "SHELL": "/bin/sh",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _finish(root: Path, dvc: subprocess.Popen[bytes]) -> None:
    assert dvc.wait(120) == 0, (root / "repro.log").read_text()


def _wait_for_writer(root: Path) -> set[int]:
    wait(lambda: bool(_writers(root)), "a stage writes")
    return _writers(root)


def _writers(root: Path) -> set[int]:
    """Processes with an open file in the unfinished output."""
    temporary = f"{(root / TEMPORARY).resolve()}/"
    found = set()
    for process_id in find_stages("normalize", root):
        for descriptor in Path(f"/proc/{process_id}/fd").glob("*"):
            try:
                if str(descriptor.readlink()).startswith(temporary):
                    found.add(process_id)
            except OSError:
                continue
    return found
