"""A checkout in which the whole graph is run once, for all tests of this folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from openmedq import paths
from tests.connections import SHIM, read_attempts

ROOT = Path(__file__).parents[2]

# Reports of a credentialed dataset, captions, texts, questions and a benchmark; other tests run all datasets.
SOURCES = ("mimic_cxr", "pmc_oa", "pubmedqa", "vqa_rad")
BENCHMARKS = ("pneumonia_mnist",)

QUICK = {  # a short training, evaluation and transfer
    "cxr8, medfmc_chest, medfmc_endo, breast_ultrasound, medfmc_colon, pneumonia_mnist, blood_mnist, retina_mnist": (
        "pneumonia_mnist"
    ),
    "max_new_tokens: 24": "max_new_tokens: 8",
    "max_steps: 400  #": "max_steps: 4  #",
    "max_rows: null  # maximum number of rows": "max_rows: 12  # maximum number of rows",
    "max_rows: null  # maximum number of training rows": "max_rows: 32  # maximum number of training rows",
    "num_epochs: 9\n": "num_epochs: 1\n",
    "num_resamples: 1000": "num_resamples: 20",
}


@dataclass(frozen=True)
class Project:
    """A checkout; `run` runs a command in it and expects an exit code."""

    root: Path
    shim: Path  # a folder whose `sitecustomize.py` keeps processes from the network

    @property
    def printed(self) -> Path:
        return self.shim / "printed.txt"

    @property
    def attempts(self) -> list[str]:
        """Connections of any process to hosts other than loopback."""
        return read_attempts(self.shim)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "DVC", "GIT"))},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.shim),
            "OPENMEDQ_ATTEMPTS": str(self.shim / "attempts.txt"),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *command: str, code: int = 0, **environment: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def change(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new), encoding="utf-8")


def checkout(folder: Path) -> Project:
    """Copy the files that git tracks or would track, and commit them in a new repository."""
    root = folder / "project"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    shim = folder / "shim"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(SHIM, encoding="utf-8")
    project = Project(root, shim)
    (root / "dvc.lock").unlink(missing_ok=True)
    project.run("git", "init", "--quiet")
    project.run("git", "add", ".")
    project.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "checkout")
    return project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The default profile, with fewer datasets and updates, run by `dvc repro`. Tests do not change it."""
    fresh = checkout(tmp_path_factory.mktemp("end_to_end"))
    for old, new in QUICK.items():
        fresh.change("params.yaml", old, new)
    catalogue = fresh.root / paths.CATALOGUE
    tree = yaml.safe_load(catalogue.read_text(encoding="utf-8"))
    kept = {key: entry for key, entry in tree["datasets"].items() if key in SOURCES + BENCHMARKS}
    drawn = {key: entry for key, entry in tree["miniatures"].items() if key in kept}
    text = yaml.safe_dump({"miniatures": drawn, "datasets": kept}, sort_keys=False)
    catalogue.write_text(text, encoding="utf-8")
    fresh.printed.write_text(fresh.run("dvc", "repro"), encoding="utf-8")
    return fresh


@pytest.fixture
def copy(project: Project, tmp_path: Path) -> Callable[[], Project]:
    """A copy of the project, outputs and cache included, to be changed."""

    def make() -> Project:
        shutil.copytree(project.root, tmp_path / "project", symlinks=True)
        return Project(tmp_path / "project", project.shim)

    return make
