import json
from collections.abc import Callable
from pathlib import Path

import pytest

from openmedq import paths

from .conftest import Project

pytestmark = pytest.mark.xdist_group("end_to_end")

Copy = Callable[[], Project]


def test_no_output_is_unfinished(project: Project) -> None:
    left = [path for path in (project.root / paths.PARTIAL).iterdir() if path.suffix != ".lock"]
    unfinished = [path for path in left if "cache" not in path.name and path.name not in ("runs", "project")]
    assert unfinished == [] and list((project.root / paths.PARTIAL / "runs").iterdir()) == []


def test_a_second_repro_runs_nothing(project: Project) -> None:
    assert "Data and pipelines are up to date" in project.run("dvc", "repro")
    assert "up to date" in project.run("dvc", "status")


def test_no_process_used_the_network(project: Project) -> None:
    assert project.attempts == []


def test_an_edited_reader_runs_only_what_depends_on_it_and_a_lost_model_comes_back(copy: Copy) -> None:
    project = copy()
    before = project.run("python", "-c", COUNT_RUNS)
    reader = project.root / "openmedq" / "datasets" / "pubmedqa.py"
    reader.write_text(reader.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    project.run("rm", "-rf", "data/model")
    printed = project.run("dvc", "repro")
    ran = [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")]
    assert ran == ["miniature@pubmedqa", "normalize@pubmedqa"]  # same bytes: the graph stops there
    assert (project.root / paths.MODEL / "config.json").exists()
    assert project.run("python", "-c", COUNT_RUNS) == before


COUNT_RUNS = """
import sqlite3
print(sqlite3.connect("mlflow.db").execute("select count(*) from runs").fetchone()[0])
"""


def test_a_second_report_has_the_same_bytes_and_dvc_shows_scores(copy: Copy) -> None:
    project = copy()
    before = (project.root / paths.DVC_LOCK).read_text(encoding="utf-8")
    project.run("dvc", "repro", "--force", "--single-item", "report")
    assert (project.root / paths.DVC_LOCK).read_text(encoding="utf-8") == before
    assert "bleu_1" in project.run("dvc", "metrics", "show")
    project.run("dvc", "plots", "show")


def test_data_that_fail_the_validation_stop_the_graph(copy: Copy) -> None:
    project = copy()
    project.change("params.yaml", "min_rows: 1  #", "min_rows: 1000000  #")
    printed = project.run("dvc", "repro", code=255)
    assert "error: " in printed
    assert "Running stage 'train'" not in printed
    assert "Traceback" not in printed


def test_a_local_data_folder_is_read_in_place(copy: Copy, real_data: Path) -> None:
    project = copy()
    project.change("params.yaml", "mirror: data/miniature", f"mirror: {real_data}")
    refused = project.run("dvc", "repro", "normalize@pneumonia_mnist", code=255).split("error: ")[1].splitlines()[0]
    assert "pneumoniamnist.npz" in refused and "normalize.allow_unofficial" in refused
    names = ("vqa_rad", "pmc_oa")
    project.run("dvc", "repro", *(f"normalize@{name}" for name in names))
    files = [project.root / paths.SAMPLES / name / "counts.json" for name in names]
    counts = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    assert [each["found"] for each in counts] == [2248, 0]
    assert [each["state"] for each in counts] == ["present", "absent"]
    copied = [file for name in names for file in (project.root / paths.RAW / name).rglob("*") if file.is_file()]
    assert {file.name for file in copied} == {"origin.json"}
    project.change("params.yaml", "require: []", "require: [pmc_oa]")
    assert "pmc_oa" in project.run("dvc", "repro", "download@pmc_oa", code=255).split("error: ")[1].splitlines()[0]
