"""Makes a Prefect server ready: slots, work pools, and the deployments of `prefect.yaml`.

`prefect.yaml` says what is deployed, when, and on which pool; nothing of it is repeated here. Run it once per server,
`python -m flows.schedule`, with PREFECT_API_URL set; then start a worker per pool: `prefect worker start -p cpu`.
The server is that of `make ui` or `python -m flows.server`: Prefect's own lets any web page start a flow run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import get_current_settings

from flows.walk import declare_slots

DEPLOYMENTS = Path("prefect.yaml")


def name_pools(deployments: Path = DEPLOYMENTS) -> list[str]:
    """The work pools that the deployments ask for."""
    declared = yaml.safe_load(deployments.read_text(encoding="utf-8"))["deployments"]
    return sorted({deployment["work_pool"]["name"] for deployment in declared})


def declare_pools(names: list[str]) -> None:
    """Create the pools that the server lacks, for workers that start a process per flow run."""
    with get_client(sync_client=True) as client:
        for name in names:
            try:
                client.create_work_pool(WorkPoolCreate(name=name, type="process"))
            except ObjectAlreadyExists:
                continue


def main() -> int:
    """Declare everything; the exit code is that of `prefect deploy`, 1 where no server was named."""
    argparse.ArgumentParser(prog="python -m flows.schedule", description=__doc__.partition("\n")[0]).parse_args()
    if get_current_settings().api.url is None:  # Prefect would start a server of its own, and stop it at the end
        print("error: no Prefect server: set PREFECT_API_URL, such as http://127.0.0.1:4200/api", file=sys.stderr)
        return 1
    declare_slots()
    declare_pools(name_pools())
    return subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]).returncode


if __name__ == "__main__":
    sys.exit(main())
