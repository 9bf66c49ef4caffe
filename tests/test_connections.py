import sys
from pathlib import Path

import pytest

from openmedq import TELEMETRY_OFF
from tests.conftest import run

ROOT = Path(__file__).parents[1]


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
