"""A wrong password is in no log, state or artifact of Prefect, and in no output or file of DVC."""

import base64
import sqlite3
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.logging.handlers import APILogHandler

from flows.build import build
from flows.walk import WalkError
from openmedq import paths
from tests.conftest import PrefectServer
from tests.datasets.conftest import FolderOf, miniature_of
from tests.end_to_end.conftest import checkout
from tests.fetch.round_trip import publish_set
from tests.servers import serve

__all__ = ["miniature_of"]
pytestmark = pytest.mark.faults

LOGIN = ("somebody@example.org", "battery staple of nobody")
SET_ID = "mimic_cxr"


def test_a_password_is_in_nothing_that_prefect_or_dvc_keeps(
    prefect_server: PrefectServer,
    miniature_of: FolderOf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    project = checkout(tmp_path)
    (project.root / "mirror").mkdir()
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("PHYSIONET_USERNAME", LOGIN[0])
    monkeypatch.setenv("PHYSIONET_PASSWORD", LOGIN[1])
    encoded = base64.b64encode(":".join(LOGIN).encode()).decode()
    with serve(publish_set(SET_ID, miniature_of(SET_ID)).files, login="wget") as server:
        project.change("params.yaml", "mirror: data/miniature", "mirror: mirror")
        project.change("params.yaml", "fetch: false", "fetch: true")
        project.change("params.yaml", "endpoints: {}", f"endpoints: {server.endpoints}")
        with pytest.raises(
            WalkError, match=r"physionet\.org answers 401 Unauthorized; .* the password is wrong"
        ) as told:
            build(targets=[f"download@{SET_ID}"])
        assert server.asked("physionet.org/*")[0].headers["Authorization"] == f"Basic {encoded}", "it was sent"
    assert str(told.value).startswith(f"download@{SET_ID}: ")

    APILogHandler().flush()  # it sends them in batches
    with get_client(sync_client=True) as client:
        said = "\n".join(log.message for log in client.read_logs())
        kept = "\n".join(repr(run) for run in client.read_task_runs())
        shown = "\n".join(f"{artifact.data}" for artifact in client.read_artifacts())
    assert "answers 401 Unauthorized" in said and f"download@{SET_ID}" in shown
    places = [path.read_bytes() for path in (project.root / paths.RAW).rglob("*") if path.is_file()]
    places += [(project.root / paths.DVC_LOCK).read_bytes(), *(text.encode() for text in (said, kept, shown))]
    places += [text.encode() for text in capfd.readouterr()]
    with sqlite3.connect(prefect_server.folder / "home/prefect.db") as database:
        places.append("\n".join(database.iterdump()).encode())
    assert b"answers 401 Unauthorized" in places[-1], "the store has the flow run's message"
    for place in places:
        for secret in (LOGIN[1], encoded):
            assert secret.encode() not in place
