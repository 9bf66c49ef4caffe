"""No image, text or record id of a credentialed dataset leaves the data folder: tests search for MIMIC-CXR's canary."""

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client
from prefect.logging.handlers import APILogHandler

from flows.build import build
from openmedq import paths
from openmedq.curate import forget
from openmedq.datasets.mimic_cxr.mimic_cxr import CANARY

from .conftest import Project

pytestmark = pytest.mark.xdist_group("end_to_end")

SECRET = "mimic_cxr"


def _secrets(project: Project) -> set[bytes]:
    """The canary, ids of records, patients, studies and images, texts and stored bytes."""
    found = {CANARY}
    encoded: set[bytes] = set()
    for shard in (project.root / paths.SAMPLES / SECRET).glob("shard-*.parquet"):
        for row in pq.read_table(shard).to_pylist():
            found |= {row["id"], row["groups"]["patient"], row["groups"]["study"]}
            found |= {image["image_id"] for image in row["images"]}
            found |= {turn["answer"] for turn in row["turns"] if len(turn["answer"]) > 30}
            encoded |= {image["image"]["bytes"] for image in row["images"]}
            encoded |= {image["thumbnail"] for image in row["images"]}
    encoded |= {base64.b64encode(data)[:200] for data in encoded}
    assert len(found) > 100
    return {text.encode() for text in found} | encoded


def _places(project: Project) -> Iterator[Path]:
    """Files that others may see: MLflow, Data Docs, validation, report, scores, the lock, the output of commands."""
    root = project.root
    yield from (root / "mlflow.db", root / paths.DVC_LOCK, root / paths.FORGOTTEN, project.printed)
    for folder in (Path("mlartifacts"), Path("mlruns"), paths.DATA_DOCS, paths.VALIDATION, paths.REPORT):
        yield from (path for path in (root / folder).rglob("*") if path.is_file())
    for folder in (paths.TRAINING, paths.EVALUATION, paths.TRANSFER, paths.MODEL):
        yield from (path for path in (root / folder).rglob("*") if path.suffix in (".json", ".csv", ".jinja"))


def _leaks(data: bytes, secrets: set[bytes]) -> set[bytes]:
    words = set(re.findall(rb"[\w/.-]+", data))
    return {secret for secret in secrets if secret in words or (len(secret) > 30 and secret in data)}


def test_the_canary_is_in_the_data_and_nowhere_else(project: Project) -> None:
    secrets = _secrets(project)
    shards = (project.root / paths.SAMPLES / SECRET).glob("shard-*.parquet")
    texts = [turn["answer"] for shard in shards for row in pq.read_table(shard).to_pylist() for turn in row["turns"]]
    assert any(CANARY in text for text in texts), "the pipeline has read it"
    places = list(_places(project))
    assert len(places) > 20
    for path in places:
        assert not _leaks(path.read_bytes(), secrets), path
        assert CANARY.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_prefects_logs_hold_none_of_it(
    project: Project, copy: Callable[[], Project], prefect_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = copy()
    reader = changed.root / "openmedq" / "datasets" / SECRET / f"{SECRET}.py"
    reader.write_text(reader.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    monkeypatch.chdir(changed.root)
    with get_client(sync_client=True) as client:
        known = {run.id for run in client.read_flow_runs()}
        build(targets=[f"normalize@{SECRET}"])
        APILogHandler().flush()  # the handler sends them in intervals
        mine = [run.id for run in client.read_flow_runs() if run.id not in known]
        text = "\n".join(log.message for log in client.read_logs() if log.flow_run_id in mine)
    assert f"normalize@{SECRET}" in text
    assert not _leaks(text.encode(), _secrets(project))


def test_excluded_patients_are_removed_and_counted(copy: Callable[[], Project]) -> None:
    project = copy()
    shard = next((project.root / paths.SAMPLES / SECRET).glob("shard-*.parquet"))
    rows = pq.read_table(shard).to_pylist()
    patient = rows[0]["groups"]["patient"]
    number = sum(row["groups"]["patient"] == patient for row in rows)
    printed = project.run("python", "-m", "openmedq", "forget", patient)
    assert f"{SECRET}: {number} rows" in printed
    printed += project.run("dvc", "repro", "mix")
    assert "Running stage 'normalize@mimic_cxr'" in printed
    assert "Running stage 'normalize@vqa_rad'" not in printed
    assert patient not in printed
    left = pq.read_table(next((project.root / paths.SAMPLES / SECRET).glob("shard-*.parquet"))).to_pylist()
    assert len(left) == len(rows) - number
    assert all(row["groups"]["patient"] != patient for row in left)
    assert "rejected: forgotten" in project.run("python", "-m", "openmedq", "summary", COLUMNS="200")
    assert forget.digest(patient) in (project.root / paths.FORGOTTEN).read_text(encoding="utf-8")
