"""The code dependencies in dvc.yaml are exactly the modules that each stage's process loads."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from openmedq.datasets import registry
from openmedq.stages import STAGES
from tests import closures

ROOT = Path(__file__).parents[1]
GRAPH: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def _code_deps(stage: str) -> list[str]:
    deps = (GRAPH[stage].get("do") or GRAPH[stage])["deps"]
    return [dep for dep in deps if dep.startswith("openmedq/") or dep == "${item.module}"]


def _files(dep: str) -> set[str]:
    """The Python files of a dependency, over all datasets."""
    if dep == "${item.module}":
        return {file for dataset_id in registry.MODULES for file in _files(registry.dependency(dataset_id))}
    if "${key}" in dep:
        return {file for dataset_id in registry.MODULES for file in _files(dep.replace("${key}", dataset_id))}
    path = ROOT / dep
    found = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return {file.relative_to(ROOT).as_posix() for file in found}


@pytest.mark.parametrize("stage", sorted(set(STAGES) - {"download"}))  # fetched files stay valid when the code changes
def test_a_stage_depends_on_the_code_that_it_loads_and_on_no_other(stage: str) -> None:
    loaded = closures.of_stage(stage)
    stated = {file for dep in _code_deps(stage) for file in _files(dep) if not closures.is_exempt(file)}
    assert loaded - stated == set(), f"{stage} loads these, and dvc.yaml does not name them"
    assert stated - loaded == set(), f"dvc.yaml names these, and {stage} does not load them"


def test_every_stage_of_the_table_is_a_node_and_download_depends_on_no_code() -> None:
    assert set(GRAPH) == set(STAGES)
    assert _code_deps("download") == []


def test_nothing_is_pushed() -> None:
    for stage in (each.get("do", each) for each in GRAPH.values()):
        for entry in stage.get("outs", []) + stage.get("metrics", []):
            assert next(iter(entry.values()))["push"] is False, entry


@pytest.mark.parametrize("dataset_id", [*sorted(registry.MODULES), "local"])
def test_a_dataset_loads_its_own_module_or_family_and_shared_modules(dataset_id: str) -> None:
    shared = {file for dep in _code_deps("normalize") if dep != "${item.module}" for file in _files(dep)}
    own = _files(registry.dependency(dataset_id))
    loaded = closures.of_module(
        f"openmedq.datasets.{registry.MODULES[dataset_id]}" if dataset_id != "local" else registry.LOCAL
    )
    assert loaded <= shared | own


def test_training_depends_on_no_reader_no_metric_no_miniature_and_no_download() -> None:
    for file in closures.of_stage("train"):
        assert not file.startswith(
            ("openmedq/datasets/readers", "openmedq/evaluation", "openmedq/synthetic", "openmedq/fetch")
        )
