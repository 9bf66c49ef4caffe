"""The floors: imports go downward only, siblings are strangers, and some libraries live in one place."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted([*ROOT.glob("openmedq/**/*.py"), *ROOT.glob("flows/*.py")])

FLOORS = {
    "flows": 6,
    "openmedq.__main__": 5,
    "openmedq.stages": 4,
    "openmedq.tracking.runs": 4,
    "openmedq.curate.check": 4,
    "openmedq.curate.forgetting": 4,
    "openmedq.reporting.listing": 4,
    "openmedq.reporting.summary": 4,
    "openmedq.model.parts": 4,
    "openmedq.fetch.planning": 4,
    "openmedq.model.export": 4,
    "openmedq.demo": 4,
    "openmedq.fetch.mirror": 3,
    "openmedq.fetch": 3,
    "openmedq.tracking.lineage": 3,
    "openmedq.tracking.store": 3,
    "openmedq.model.training_data": 3,
    "openmedq.report": 3,
    "openmedq.datasets": 3,
    "openmedq.datasets": 3,
    "openmedq.curate": 3,
    "openmedq.evaluation.metrics": 3,
    "openmedq.model": 3,
    "openmedq.model.encoders": 2.5,
    "openmedq.datasets.registry": 2.5,
    "openmedq.datasets.readers": 2.5,
    "openmedq.io": 2,
    "openmedq.datasets": 2,
    "openmedq.schema": 1,
    "openmedq.config_file": 2,
    "openmedq.config": 1,
    "openmedq.errors": 1,
    "openmedq.extras": 1,
    "openmedq.paths": 1,
    "openmedq": 0.5,
    "openmedq.silence": 0,
}

HOMES = {
    "torch": {"openmedq.model", "openmedq.model.encoders", "openmedq.training.train", "openmedq.evaluation.evaluate",
              "openmedq.evaluation.transfer", "openmedq.model.parts"},
    "mlflow": {"openmedq.tracking.runs", "openmedq.tracking.store"},
    "great_expectations": {"openmedq.curate.validate"},
    "dvc": {"flows"},
    "prefect": {"flows"},
}  # fmt: skip

SAME_FLOOR = {  # deliberate neighbors
    ("openmedq.curate.check", "openmedq.stages"),  # `check` is `normalize` that writes nothing
    ("openmedq.reporting.listing", "openmedq.stages"),
    ("openmedq.reporting.listing", "openmedq.fetch.planning"),
    ("openmedq.config", "openmedq.schema"),
    ("openmedq.config", "openmedq.errors"),
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


def _room(name: str) -> str:
    """The longest entry of FLOORS that holds the module."""
    parts = name.split(".")
    for length in range(len(parts), 1 if len(parts) > 1 and parts[0] == "openmedq" else 0, -1):
        if ".".join(parts[:length]) in FLOORS:
            return ".".join(parts[:length])
    raise AssertionError(f"{name}: on no floor; add it to FLOORS")


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_go_downward(path: Path) -> None:
    here = _room(_name(path))
    for imported in _imports(path):
        if imported.split(".")[0] not in ("openmedq", "flows"):
            continue
        there = _room(imported)
        if there == here or (here, there) in SAME_FLOOR:
            continue
        assert FLOORS[there] < FLOORS[here], f"{_name(path)} imports {imported}"


@pytest.mark.parametrize("package", ["sources", "benchmarks", "stages"])
def test_siblings_are_strangers(package: str) -> None:
    for path in (ROOT / "openmedq" / package).glob("*.py"):
        for imported in _imports(path):
            own = f"openmedq.{package}."
            if imported.startswith(own):
                assert _name(path).startswith(".".join(imported.split(".")[:3])), f"{_name(path)} imports {imported}"


@pytest.mark.parametrize("library", HOMES)
def test_a_library_stays_at_home(library: str) -> None:
    users = {_name(path) for path in MODULES if library in {name.split(".")[0] for name in _imports(path)}}
    assert users, f"nobody imports {library}"
    for user in users:
        assert any(user == home or user.startswith(f"{home}.") for home in HOMES[library]), f"{user} imports {library}"


def test_contributing_shows_these_floors() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = re.search(r"^## Floors$.*?^```\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert block
    lines = [(float(floor), rest) for floor, rest in re.findall(r"^([\d.]+) +(.*)$", block[1], re.MULTILINE)]
    floors = [floor for floor, _ in lines]
    assert floors == sorted(set(floors), reverse=True)
    shown = {
        name.removeprefix("openmedq."): floor
        for floor, rest in lines
        for name in re.split(r" {2,}| *[|,] *", rest)
        if " " not in name  # else it is a remark
    }
    # The package that holds all others needs no line.
    assert shown == {name.removeprefix("openmedq."): floor for name, floor in FLOORS.items() if name != "openmedq"}
