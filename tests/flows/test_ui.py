import socket
import sys

import pytest

from flows import ui
from openmedq import paths
from openmedq.errors import OpenMedQError


def page(port, program):
    url = f"http://127.0.0.1:{port}"
    return ui.Page("MLflow", url, url, (sys.executable, "-c", program), {})


def find_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_taken_port_is_told_in_one_line_before_anything_starts(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert ui.main(["--mlflow-port", str(port), "--prefect-port", str(find_port())]) == 1
    line = f"error: MLflow: 127.0.0.1:{port}: Address already in use; choose another with --mlflow-port\n"
    assert capsys.readouterr().err == line


def test_servers_are_awaited_and_stopped():
    port = find_port()
    server = page(port, f"import http.server as h; h.test(h.SimpleHTTPRequestHandler, port={port}, bind='127.0.0.1')")
    with ui.serve([server]) as processes:
        assert processes[0].poll() is None
    assert processes[0].poll() is not None
    ui._require_free(server)


def test_a_server_that_dies_is_told_with_the_command_that_shows_why():
    line = r"^MLflow: ended while it started; run `python -c raise SystemExit\(3\)` to see why$"
    with pytest.raises(OpenMedQError, match=line), ui.serve([page(find_port(), "raise SystemExit(3)")]):
        pytest.fail("a dead server counts as up")


def test_pages_on_disk_are_named_where_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    index = tmp_path / paths.DATA_DOCS / "index.html"
    (index.parent / "expectations").mkdir(parents=True)
    (index.parent / "expectations" / "index.html").touch()  # a page below is not the first page
    ui._print_windows([ui.prefect_page("127.0.0.1", 4200)])
    missing = "not there yet: run `dvc repro`"
    assert capsys.readouterr().out.splitlines()[1:3] == [f"Report      {missing}", f"Data Docs   {missing}"]
    index.touch()
    ui._print_windows([ui.prefect_page("127.0.0.1", 4200)])
    said = capsys.readouterr().out.splitlines()
    assert said[1:3] == [f"Report      {missing}", "Data Docs   data/docs/index.html"]


def test_pages_are_on_loopback_and_silent():
    mlflow = ui.mlflow_page("127.0.0.1", 5311).command
    assert mlflow[mlflow.index("--host") + 1] == "127.0.0.1"
    assert mlflow[mlflow.index("--allowed-hosts") + 1] == "127.0.0.1:5311,localhost:5311,[::1]:5311"
    assert ui.prefect_page("127.0.0.1", 4311).command[2:] == ("flows.server", "--host", "127.0.0.1", "--port", "4311")
    assert ui.TELEMETRY_OFF["MLFLOW_DISABLE_TELEMETRY"] == "true"
