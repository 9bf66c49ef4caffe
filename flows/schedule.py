"""Set up a Prefect server: concurrency limits, work pools, and the deployments of `prefect.yaml`.

Run `python -m flows.schedule` once per server, with PREFECT_API_URL set; then start a worker per pool:
`prefect worker start -p cpu`. Start the server with `make ui` or `python -m flows.server`: with `prefect server start`,
any web page in a local browser can start a flow run.
"""

import subprocess
import sys
from pathlib import Path

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import get_current_settings

from flows.walk import declare_slots, require_server
from openmedq.cli import Parser
from openmedq.errors import OpenMedQError

DEPLOYMENTS = Path("prefect.yaml")


def name_pools(deployments: Path = DEPLOYMENTS) -> list[str]:
    """Return the work pools of the deployments."""
    declared = yaml.safe_load(deployments.read_text(encoding="utf-8"))["deployments"]
    return sorted({deployment["work_pool"]["name"] for deployment in declared})


def declare_pools(names: list[str]) -> None:
    """Create missing pools, for workers that start one process per flow run."""
    with get_client(sync_client=True) as client:
        for name in names:
            try:
                client.create_work_pool(WorkPoolCreate(name=name, type="process"))
            except ObjectAlreadyExists:
                continue


def main() -> int:
    """Set up everything; return the exit code of `prefect deploy`, or 1 without a server."""
    Parser(prog="python -m flows.schedule", description=__doc__.partition("\n")[0]).parse_args()
    if get_current_settings().api.url is None:  # Prefect would start a temporary server
        print("error: no Prefect server: set PREFECT_API_URL, such as http://127.0.0.1:4200/api", file=sys.stderr)
        return 1
    try:
        require_server()
    except OpenMedQError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    declare_slots()
    declare_pools(name_pools())
    return subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]).returncode


if __name__ == "__main__":
    sys.exit(main())
