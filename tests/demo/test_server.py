"""The demo's server: a session opens for its own page, and for no page of another site."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import nullcontext
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from openmedq import paths
from tests.connections import guard
from tests.flows.test_ui import find_port

ROOT = Path(__file__).parents[2]
EVIL = "evil.example.com"


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    root, port = tmp_path_factory.mktemp("demo"), find_port()
    (root / paths.MODEL).mkdir(parents=True)
    (root / paths.MODEL / "config.json").write_text("{}")  # the model is loaded when something is asked
    environment = os.environ | guard(root)  # Streamlit asks for its public address when a foreign Origin comes
    environment["PYTHONPATH"] += f"{os.pathsep}{ROOT}"
    command = [sys.executable, "-m", "openmedq", "demo", "--port", str(port)]
    server = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < end
                time.sleep(0.2)
        yield port
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    ("host", "origin", "is_ours"),
    [
        ("127.0.0.1", "http://127.0.0.1:{}", True),
        ("localhost", "http://localhost:{}", True),
        (EVIL, f"http://{EVIL}:{{}}", False),  # its name was rebound to loopback
        ("127.0.0.1", f"http://{EVIL}", False),
        ("127.0.0.1", "null", False),
    ],
)
def test_sessions_are_for_its_own_page(host, origin, is_ours, port):
    refused = nullcontext() if is_ours else pytest.raises(InvalidStatus, match="403")
    with socket.create_connection(("127.0.0.1", port)) as sock, refused:
        connect(f"ws://{host}:{port}/_stcore/stream", origin=origin.format(port), sock=sock).close()
