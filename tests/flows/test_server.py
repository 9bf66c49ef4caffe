"""Prefect's server, as `make ui` and compose.yaml start it, rejects pages of other sites and accepts its own pages."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.concurrency.sync import concurrency
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_DATABASE_CONNECTION_URL,
    temporary_settings,
)
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from flows.walk import close_temporary_server
from tests.processes import find_port

ROOT = Path(__file__).parents[2]
POOL = "door"
FLOW = "from pathlib import Path\nfrom prefect import flow\n@flow\ndef touch(): Path({!r}).touch()\n"
PROOF = "a command ran"
EVIL = "evil.example.com"


def _fetch_token(server):
    """The headers that the server's own pages send with each POST."""
    answer = httpx.get(f"{server.url}/api/csrf-token", params={"client": "page"})
    return {"Prefect-Csrf-Client": "page", "Prefect-Csrf-Token": answer.json()["token"]}


@pytest.fixture
def server(prefect_server):
    return prefect_server


@pytest.fixture(scope="module")
def deployment(_prefect_server):
    """A deployment on a process pool, created by Prefect's client."""
    folder = _prefect_server.folder
    (folder / "touch.py").write_text(FLOW.format(str(folder / PROOF)))
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        flow = client.create_flow_from_name("touch")
        place = {"path": str(folder), "entrypoint": "touch.py:touch"}
        return client.read_deployment(client.create_deployment(flow, "touch", work_pool_name=POOL, **place))


# The headers of a page of another site; all but the last have a valid token.
ATTACKS = {
    "JSON": {"Origin": f"http://{EVIL}", "Content-Type": "application/json"},
    "no Content-Type": {"Origin": f"http://{EVIL}"},
    "https": {"Origin": f"https://{EVIL}"},
    "Origin without a name": {"Origin": "null"},
    "another port": {"Origin": "http://127.0.0.1:9"},
    "lookalike": {"Origin": f"http://127.0.0.1:{{port}}.{EVIL}"},
    "foreign Host": {"Host": f"{EVIL}:{{port}}"},
    "DNS rebinding": {"Host": f"{EVIL}:{{port}}", "Origin": f"http://{EVIL}:{{port}}"},
    "no token": {"Origin": "http://127.0.0.1:{port}"},
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_pages_of_other_sites_are_rejected(attack, server, deployment):
    headers = {name: value.format(port=server.port) for name, value in ATTACKS[attack].items()}
    if attack != "no token":
        headers |= _fetch_token(server)
    run = {"job_variables": {"command": f"touch '{server.folder / PROOF}'"}}
    url = f"{server.url}/api/deployments/{deployment.id}/create_flow_run"
    answer = httpx.post(url, headers=headers, content=json.dumps(run))
    assert answer.status_code == 403, answer.text


@pytest.mark.parametrize("name", ["127.0.0.1:{}", "localhost:{}", "LOCALHOST:{}", "[::1]:{}", "prefect:{}"])
def test_its_own_names_are_accepted(name, server):
    host = name.format(server.port)
    answer = httpx.get(f"{server.url}/api/health", headers={"Host": host, "Origin": f"http://{host}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["", EVIL, "localhost", "prefect", "127.0.0.1:{}0", "127.0.0.1:{}.evil", "10.evil:{}"])
def test_other_names_are_rejected(name, server):
    answer = httpx.get(f"{server.url}/api/health", headers={"Host": name.format(server.port)})
    assert 400 <= answer.status_code < 500


def test_websockets_are_checked_as_well(server):
    ours, rebound = (f"ws://{name}:{server.port}/api/events/in" for name in ("127.0.0.1", EVIL))
    for url, origin in ((ours, f"http://{EVIL}"), (ours, "null"), (rebound, None)):
        sock = socket.create_connection(("127.0.0.1", server.port))
        with sock, pytest.raises(InvalidStatus, match="403"), connect(url, origin=origin, sock=sock):
            pytest.fail("the websocket was opened")
    for origin in (None, server.url):
        connect(ours, origin=origin).close()


def test_its_own_page_works(server):
    page = httpx.get(server.url, headers={"Accept": "text/html"}, follow_redirects=True)
    assert page.status_code == 200 and "<title>Prefect" in page.text
    settings = httpx.get(f"{server.url}/ui-settings").json()
    assert (settings["api_url"], settings["csrf_enabled"]) == ("/api", True)
    runs = f"{server.url}/api/flow_runs/filter"
    assert httpx.post(runs, headers={"Origin": server.url} | _fetch_token(server), json={}).status_code == 200


def test_the_leases_of_slots_outlive_the_server(server):
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name("door", 1)
    with concurrency("door", strict=True):
        assert list((server.folder / "home/concurrency_leases").glob("*-*.json"))


def test_a_taken_port_is_one_line(server):
    command = [sys.executable, "-m", "flows.server", "--port", str(server.port)]
    done = subprocess.run(command, cwd=ROOT, env=server.environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(
        rf"error: 127\.0\.0\.1, port {server.port}: Address already in use.*; choose another --host or --port\n",
        done.stderr,
    )


def test_the_temporary_server_of_a_flow_needs_a_password(tmp_path):
    home = {PREFECT_HOME: str(tmp_path), PREFECT_SERVER_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{tmp_path}/p.db"}
    with temporary_settings(home, restore_defaults={PREFECT_API_URL}), close_temporary_server():
        temporary = SubprocessASGIServer(find_port())
        temporary.start(timeout=120)
        try:
            for path in ("csrf-token?client=page", "flow_runs/count"):
                assert httpx.get(f"{temporary.api_url}/{path}", headers={"Host": EVIL}).status_code == 401
            with temporary_settings({PREFECT_API_URL: temporary.api_url}), get_client(sync_client=True) as client:
                assert client.read_flow_runs() == []
        finally:
            temporary.stop()


def test_a_configured_server_keeps_its_password():
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4200/api"}), close_temporary_server():
        assert PREFECT_API_AUTH_STRING.value() is None


@pytest.mark.slow
def test_a_worker_runs_the_requested_flow_and_no_other(server, deployment):
    with get_client(sync_client=True) as client:
        before = {run.id for run in client.read_flow_runs()}
        asked = client.create_flow_run_from_deployment(deployment.id)
        assert not (server.folder / PROOF).exists()
        worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--run-once"]
        done = subprocess.run(
            worker, cwd=server.folder, env=server.environment, capture_output=True, text=True, timeout=120
        )
        new = [(run.id, run.state.type) for run in client.read_flow_runs() if run.id not in before]
        assert new == [(asked.id, "COMPLETED")], done.stderr
    assert (server.folder / PROOF).exists()
