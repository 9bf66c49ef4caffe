"""The tests do not depend on the user's environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
OF_THE_USER = {
    "HF_HUB_OFFLINE": "1",
    "HF_TOKEN": "hf_secret",
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "NO_PROXY": "*",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    "PREFECT_API_URL": "http://127.0.0.1:9/api",
    "PHYSIONET_USERNAME": "somebody",
    "NETRC": "/nowhere",
    "DVC_STAGE": "train",
    "GIT_DIR": "/nowhere",
    "OMP_NUM_THREADS": "64",
    "RANK": "1",
}


def test_the_users_variables_and_home_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine physionet.org login somebody password secret\n", encoding="utf-8")
    code = "import json, os, tests.conftest; print(json.dumps([dict(os.environ), os.listdir(os.environ['HOME'])]))"
    environment = {**os.environ, **OF_THE_USER, "HOME": str(tmp_path)}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen, files_of_home = json.loads(done.stdout)
    assert not OF_THE_USER.keys() & seen.keys()
    assert files_of_home == []
    assert not Path(seen["HOME"]).exists(), "the temporary HOME is removed at the end"
