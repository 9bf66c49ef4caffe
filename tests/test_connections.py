"""No telemetry, and no connection of a pipeline run to another machine."""

import sys
from pathlib import Path

import pytest

from openmedq import TELEMETRY_OFF
from tests.conftest import run
from tests.connections import guard, read_attempts

ROOT = Path(__file__).parents[1]


def with_root(environment):
    return {**environment, "PYTHONPATH": f"{environment['PYTHONPATH']}:{ROOT}"}


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
