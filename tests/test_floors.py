"""Packages import only packages of lower layers, and some libraries are imported in one place only."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = (  # from the top; packages of one floor do not import each other
    ("flows", "__main__"),
    ("cli",),
    ("commands",),
    ("stages",),
    ("demo",),
    ("reporting",),
    ("evaluation",),
    ("training",),
    ("curate", "fetch", "synthetic", "model", "tracking"),
    ("datasets",),
    ("storage",),
    ("schema", "config", "errors", "extras", "paths"),
)
FLOOR_OF = {name: floor for floor, names in enumerate(reversed(FLOORS)) for name in names}
NEIGHBORS = {("config", "schema"), ("config", "errors")}  # one floor, and yet imported

HOMES = {
    "torch": {"openmedq.model", "openmedq.training", "openmedq.evaluation", "openmedq.demo"},
    "mlflow": {"openmedq.tracking"},
    "great_expectations": {"openmedq.curate.validate"},
    "dvc": {"flows"},
    "prefect": {"flows"},
    "dask": {"openmedq.storage.cluster"},
    "distributed": {"openmedq.storage.cluster"},
}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> list[str]:
    """Modules that a file imports, wherever in the file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


IMPORTS = {_name(path): _imports(path) for path in (*ROOT.glob("openmedq/**/*.py"), *ROOT.glob("flows/*.py"))}


def _package(name: str) -> str:
    """`openmedq.datasets.readers.tables` is of `datasets`, `flows.graph` of `flows`; "" is openmedq itself."""
    parts = name.split(".")
    if parts[0] != "openmedq":
        return parts[0]
    return parts[1] if len(parts) > 1 and parts[1] in FLOOR_OF else ""


def test_imports_go_downward() -> None:
    wrong = []
    for name, imports in IMPORTS.items():
        here = _package(name)
        for imported in imports:
            there = _package(imported)
            is_ours = imported.split(".")[0] in ("openmedq", "flows")
            if is_ours and there not in ("", here) and (here, there) not in NEIGHBORS:
                wrong += [f"{name} imports {imported}"] if FLOOR_OF[there] >= FLOOR_OF[here] else []
    assert not wrong


def test_every_module_has_a_floor() -> None:
    assert {_package(name) for name in IMPORTS} - {""} == set(FLOOR_OF)


@pytest.mark.parametrize("library", HOMES)
def test_a_library_stays_at_home(library: str) -> None:
    users = {user for user, imports in IMPORTS.items() if library in {name.split(".")[0] for name in imports}}
    assert users, f"nobody imports {library}"
    for user in users:
        assert any(user == home or user.startswith(f"{home}.") for home in HOMES[library]), f"{user} imports {library}"


def test_contributing_shows_these_floors() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = re.search(r"^## Floors$.*?^```\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert block
    assert [tuple(line.split()) for line in block[1].splitlines()] == list(FLOORS)
