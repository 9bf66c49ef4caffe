"""What a stage's process imports of this project, read from the code: the measure of its deps in dvc.yaml."""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from openmedq.datasets import registry
from openmedq.stages import STAGES

ROOT = Path(__file__).parents[1]

# Plumbing that every process loads, and that changes no byte of an output.
EXEMPT = {
    "openmedq/__init__.py",  # telemetry off
    "openmedq/__main__.py",
    "openmedq/cli.py",
    "openmedq/commands.py",
    "openmedq/stages.py",
    "openmedq/errors.py",
    "openmedq/extras.py",
    "openmedq/paths.py",
    "openmedq/datasets/__init__.py",  # these two find a dataset's module by its id
    "openmedq/datasets/registry.py",
}


def is_exempt(file: str) -> bool:
    """Whether no stage has to depend on it: plumbing, config, tracking, and an `__init__` that is only a docstring."""
    if file in EXEMPT or file.startswith(("openmedq/config/", "openmedq/tracking/")):
        return True
    return file.endswith("/__init__.py") and len(_parse(file).body) <= 1


def of_stage(name: str) -> set[str]:
    """Files below openmedq/ that the stage's processes load, over all datasets; exempt ones left out."""
    stage = STAGES[name]
    found = _close([_file_of(stage.module)])
    if name == "miniature":
        found |= _close(f"openmedq/synthetic/{dataset_id}.py" for dataset_id in registry.MODULES)
    if name in ("normalize", "download"):  # download asks some datasets for the files that their lists name
        found |= _close(_file_of(f"openmedq.datasets.{module}") for module in registry.MODULES.values())
    if "openmedq/model/encoders/__init__.py" in found:  # which imports an encoder by its name
        found |= _close(path.relative_to(ROOT).as_posix() for path in (ROOT / "openmedq/model/encoders").glob("*.py"))
    return {file for file in found if not is_exempt(file)}


def of_module(module: str) -> set[str]:
    """Files below openmedq/ that importing the module loads, now or when its functions are called."""
    return {file for file in _close([_file_of(module)]) if not is_exempt(file)}


def _close(files: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imports(file)
    return found


@cache
def _parse(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


@cache
def _imports(file: str) -> frozenset[str]:
    tree = _parse(file)
    for node in ast.walk(tree):  # what only a type checker imports is not loaded
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    found = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == "openmedq":
            found.update(_file_of(".".join(parts[:length])) for length in range(1, len(parts) + 1))
    return frozenset(found - {""})


def _file_of(module: str) -> str:
    """Path of a module, or "" where the name is not a module's."""
    path = Path(*module.split("."))
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if (ROOT / candidate).is_file():
            return candidate.as_posix()
    return ""
