import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from openmedq import demo, paths
from openmedq.errors import ModelError, ParamsError
from tests.connections import guard, read_attempts
from tests.processes import find_port

ROOT = Path(__file__).parents[2]
EVIL = "evil.example.com"


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    root, port = tmp_path_factory.mktemp("demo"), find_port()
    (root / paths.MODEL).mkdir(parents=True)
    (root / paths.MODEL / "config.json").write_text("{}")  # the page loads the model for the first question
    environment = os.environ | guard(root)
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
        assert read_attempts(root) == [], "it used the network"
        listening = [each.laddr for each in psutil.Process(server.pid).net_connections() if each.status == "LISTEN"]
        assert [tuple(address) for address in listening] == [("127.0.0.1", port)]
        yield port
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    ("host", "origin", "is_own"),
    [
        ("127.0.0.1", "http://127.0.0.1:{}", True),
        ("localhost", "http://localhost:{}", True),
        (EVIL, f"http://{EVIL}:{{}}", False),  # DNS rebinding
        ("127.0.0.1", f"http://{EVIL}", False),
        ("127.0.0.1", "null", False),
    ],
)
def test_sessions_are_for_its_own_page(host, origin, is_own, port):
    rejected = nullcontext() if is_own else pytest.raises(InvalidStatus, match="403")
    with socket.create_connection(("127.0.0.1", port)) as sock, rejected:
        connect(f"ws://{host}:{port}/_stcore/stream", origin=origin.format(port), sock=sock).close()


@pytest.mark.usefixtures("empty_folder")
def test_an_address_that_is_not_available_is_an_error(port):
    paths.MODEL.mkdir(parents=True)
    (paths.MODEL / "config.json").write_text("{}")
    with pytest.raises(ParamsError) as caught:
        demo.serve("127.0.0.1", port)
    assert str(caught.value) == f"127.0.0.1, port {port}: Address already in use; choose another --host or --port"


@pytest.mark.usefixtures("empty_folder")
def test_without_a_model_it_is_an_error():
    with pytest.raises(ModelError, match=r"^data/model: no model; run `dvc repro train`$"):
        demo.serve("127.0.0.1", 8501)
