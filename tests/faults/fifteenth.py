"""A checkout with one more dataset: two files on a plain host, without published sizes and hashes."""

import random
import shutil
from pathlib import Path

from tests.end_to_end.conftest import Project, checkout
from tests.servers import Server

SET_ID = "fifteenth"
HOST = "data.example.org"
SIZE_BYTES = 6_000_000
DATA = {name: random.Random(name).randbytes(SIZE_BYTES) for name in ("first.bin", "second.bin")}
SITE = {f"https://{HOST}/{name}": data for name, data in DATA.items()}

RAW = Path("data/raw") / SET_ID
FILES, PARTIAL = RAW / "files", RAW / ".partial"

MODULE = f'''"""A fifteenth set."""

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


def make(folder: Path) -> Project:
    """A checkout with an empty local data folder that fetches what is missing and attempts each request once."""
    project = checkout(folder)
    (project.root / "openmedq" / "datasets" / f"{SET_ID}.py").write_text(MODULE, encoding="utf-8")
    project.change("openmedq/datasets/registry.py", "MODULES = {", f'MODULES = {{"{SET_ID}": "{SET_ID}",')
    (project.root / "mirror").mkdir()
    project.run("python", "-m", "openmedq", "catalogue")
    project.change("params.yaml", "mirror: data/miniature", "mirror: mirror")
    project.change("params.yaml", "fetch: false", "fetch: true")
    project.change("params.yaml", "attempts: 6", "attempts: 1")
    project.run("dvc", "repro", "manifest")
    return project


def copy(project: Project, folder: Path, server: Server) -> Project:
    """A copy of it that asks the server in every host's place."""
    root = Path(shutil.copytree(project.root, folder / "project", symlinks=True))
    made = Project(root, project.shim)
    made.change("params.yaml", "endpoints: {}", f"endpoints: {server.endpoints}")
    return made
