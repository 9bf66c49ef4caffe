"""`kill -9` at ten moments of each data stage: the next run writes the same bytes, and no more files."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from openmedq import paths, synthetic
from openmedq.config.render import render
from openmedq.curate import forget
from openmedq.datasets import catalogue, registry
from openmedq.stages import STAGES
from tests.curate.corpus import make_params
from tests.processes import Run, open_forks

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("kill stages")]

ROOT = Path(__file__).parents[2]
DATASET = "slake"
NODES = (
    *(("manifest",), ("download", DATASET), ("normalize", DATASET)),
    *(("deduplicate",), ("mix",), ("validate",)),
)
NUM_MOMENTS = 10
CACHE = "manifest-cache"
HOOK = """
import os, signal, sys

DATA, STOP, number = os.path.join(os.getcwd(), "data") + os.sep, int(os.environ["STOP"]), 0
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")


def count(event, arguments):
    global number
    if event == "open":
        changes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    else:
        changes = event in CHANGES
    if not changes or not isinstance(arguments[0], (str, bytes, os.PathLike)):
        return
    if not os.path.abspath(os.fsdecode(arguments[0])).startswith(DATA):
        return
    number += 1
    if number == STOP:
        os.kill(os.getpid(), signal.SIGKILL)
    if STOP == 0:
        with open(os.environ["CHANGES"], "ab") as file:
            file.write(b".")


sys.addaudithook(count)
"""


def run(forks: Run, root: Path, stage: tuple[str, ...], stop: int) -> tuple[int, int]:
    """Run a stage that kills itself before its `stop`th change of a file; returns its exit status and the changes."""
    changes = root / "changes"
    changes.write_bytes(b"")
    environment = {**os.environ, "PYTHONPATH": f"{root / 'hook'}{os.pathsep}{ROOT}", "CHANGES": str(changes)}
    status, said = forks(stage, root, environment | {"STOP": str(stop)})
    assert status in (0, -signal.SIGKILL), said
    return status, changes.stat().st_size


def read(root: Path) -> dict[str, bytes]:
    """All files below `data`; of the cache of hashes, which has the times of files, only the name."""
    found = sorted(path for path in (root / "data").rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): b"" if path.name == CACHE else path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kill") / "project"
    (root / "data").mkdir(parents=True)
    (root / "hook").mkdir()
    (root / "hook/sitecustomize.py").write_text(HOOK, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        card = registry.load(DATASET).card
        paths.CATALOGUE.write_text(catalogue.render({DATASET: card}, {DATASET: "x.py"}), encoding="utf-8")
        paths.FORGOTTEN.write_text(forget.render({}, [DATASET]), encoding="utf-8")
        Path("data/copies.csv").write_text("id_a,id_b,decision\n", encoding="utf-8")
        paths.PARAMS.write_text(render(make_params(download={"mirror": "mirror"})), encoding="utf-8")
        synthetic.write(DATASET, Path("mirror") / DATASET)
    return root


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with open_forks(tmp_path_factory.mktemp("forks"), *(STAGES[stage[0]].module for stage in NODES)) as run:
        yield run


@pytest.mark.timeout(3600)
def test_the_next_run_gives_the_same_bytes(project: Path, forks: Run, tmp_path: Path) -> None:
    num_kills = 0
    for stage in NODES:
        before = Path(shutil.copytree(project, tmp_path / "before", symlinks=True))
        code, num_changes = run(forks, project, stage, 0)
        assert code == 0 and num_changes > 1
        undisturbed = read(project)
        for moment in range(NUM_MOMENTS):
            stop = 1 + moment * num_changes // NUM_MOMENTS
            root = Path(shutil.copytree(before, tmp_path / "killed", symlinks=True))
            code, _ = run(forks, root, stage, stop)
            assert code == -signal.SIGKILL, (stage, stop, num_changes)
            num_kills += 1
            assert run(forks, root, stage, -1)[0] == 0
            assert read(root) == undisturbed, (stage, stop)
            shutil.rmtree(root)
        shutil.rmtree(before)
    assert num_kills == NUM_MOMENTS * len(NODES)
