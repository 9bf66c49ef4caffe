import sys
from pathlib import Path

import pytest

from openmedq import TELEMETRY_OFF
from tests.conftest import run
from tests.connections import guard, read_attempts

ROOT = Path(__file__).parents[1]


def with_root(environment):
    return {**environment, "PYTHONPATH": f"{environment['PYTHONPATH']}:{ROOT}"}


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
        "import socket; socket.socket().connect_ex(('192.0.2.1', 80))",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "import urllib.request as u; u.urlopen('http://telemetry.example/')",
        "import asyncio; asyncio.run(asyncio.open_connection('192.0.2.1', 80))",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import httpx; httpx.get(\"http://192.0.2.1\")'])",
    ],
)
def test_the_guard_records_every_connection(tmp_path, attempt):
    run([sys.executable, "-c", attempt], tmp_path, **guard(tmp_path))
    (line, *_) = read_attempts(tmp_path)
    assert line.startswith(("192.0.2.1 ", "telemetry.example "))


def test_the_guard_allows_loopback(tmp_path):
    program = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname()); "
        "socket.create_connection(('localhost', s.getsockname()[1]))"
    )
    done = run([sys.executable, "-c", program], tmp_path, **guard(tmp_path))
    assert done.returncode == 0, done.stderr
    assert read_attempts(tmp_path) == []


def test_dvc_repro_and_a_training_with_its_run_stay_on_this_machine(toy):
    Path(toy, "train.py").write_text(
        "import runpy, sys\nfrom tests.tracking.test_runs import Settings\nfrom openmedq.tracking import runs\n"
        "with runs.open_run('train', (), Settings()) as log:\n"
        "    log({'loss': 1.0}, 0)\n    sys.argv = ['stage.py', 'train']\n    runpy.run_path('stage.py')\n"
    )
    pipeline = Path(toy, "dvc.yaml")
    pipeline.write_text(pipeline.read_text().replace("python stage.py train", "python train.py"))
    done = run([sys.executable, "-m", "dvc", "repro", "-q", "train"], toy, **with_root(guard(toy)))
    assert done.returncode == 0, done.stderr
    assert (toy / "mlflow.db").exists()
    assert read_attempts(toy) == []


@pytest.mark.parametrize("package", ["openmedq", "flows"])
def test_importing_the_package_disables_telemetry(tmp_path, package):
    loud = dict.fromkeys(TELEMETRY_OFF, "loud")
    program = f"import os, json, {package}; print(json.dumps({{n: os.environ[n] for n in {sorted(TELEMETRY_OFF)}}}))"
    done = run([sys.executable, "-c", program], tmp_path, **{**loud, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert "loud" not in done.stdout


def test_the_projects_configuration_disables_dvcs_telemetry():
    done = run([sys.executable, "-m", "dvc", "config", "--project", "core.analytics"], ROOT)
    assert done.stdout.strip() == "false"
