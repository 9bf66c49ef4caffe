import re
import socket
import sys
from functools import partial
from urllib.request import proxy_bypass

import pytest

from flows import ui
from flows.build import build
from flows.walk import run_by_hand
from openmedq.errors import OpenMedQError
from tests.processes import find_port


def page(port, program):
    url = f"http://127.0.0.1:{port}"
    return ui.Page("MLflow", url, url, (sys.executable, "-c", program), {})


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_a_taken_port_is_one_line(host, family, capsys):
    with socket.create_server((host, 0), family=family) as taken:
        port = taken.getsockname()[1]
        assert ui.main(["--host", host, "--mlflow-port", str(port), "--prefect-port", str(find_port())]) == 1
    line = f"error: {host}, port {port}: Address already in use; choose another --mlflow-port\n"
    assert capsys.readouterr().err == line


def test_servers_are_started_and_stopped():
    port = find_port()
    server = page(port, f"import http.server as h; h.test(h.SimpleHTTPRequestHandler, port={port}, bind='127.0.0.1')")
    with ui.serve([server]) as processes:
        assert processes[0].poll() is None
    assert processes[0].poll() is not None
    ui.check_free("127.0.0.1", port)


def test_a_proxy_of_the_environment_is_not_used_for_loopback(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert [name for name in ("127.0.0.1", "localhost", "::1", "example.com") if not proxy_bypass(name)] == [
        "example.com"
    ]


@pytest.mark.parametrize(
    ("main", "arguments", "program"),
    [
        (ui.main, ["--mlflow-port", "65536"], "flows.ui"),
        (partial(run_by_hand, build), ["--max-workers", "0"], "flows.build"),
    ],
)
def test_a_wrong_argument_is_one_line(main, arguments, program, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(arguments)
    assert re.fullmatch(rf"error: .*; see `python -m {program} --help`\n", capsys.readouterr().err)


def test_the_error_of_a_dead_server_names_its_command():
    line = r"^MLflow: ended while it started; run `python -c raise SystemExit\(3\)` to see why$"
    with pytest.raises(OpenMedQError, match=line), ui.serve([page(find_port(), "raise SystemExit(3)")]):
        pytest.fail("the server is dead")


def test_pages_are_on_loopback_without_telemetry():
    assert ui.mlflow_page("::1", 5311).url == "http://[::1]:5311"
    mlflow = ui.mlflow_page("127.0.0.1", 5311).command
    assert mlflow[mlflow.index("--host") + 1] == "127.0.0.1"
    assert mlflow[mlflow.index("--allowed-hosts") + 1] == "127.0.0.1:5311,localhost:5311,[::1]:5311"
    assert ui.prefect_page("127.0.0.1", 4311).command[2:] == ("flows.server", "--host", "127.0.0.1", "--port", "4311")
    assert ui.TELEMETRY_OFF["MLFLOW_DISABLE_TELEMETRY"] == "true"
