"""Serve the pages of MLflow and Prefect on loopback, until Ctrl-C: `python -m flows.ui`, or `make ui`."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from flows.server import bracket, own_hosts
from openmedq import TELEMETRY_OFF, paths
from openmedq.cli import PORT, Parser
from openmedq.demo import check_free
from openmedq.errors import OpenMedQError

START_SECONDS = 120.0
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class Page:
    """One server: its command and environment, and the URL of its health check."""

    title: str
    url: str
    health: str
    command: tuple[str, ...]
    environment: dict[str, str]


def mlflow_page(host: str, port: int) -> Page:
    """Return MLflow's server, with the project's store."""
    url = f"http://{bracket(host)}:{port}"
    hosts = ",".join(own_hosts(host, port))  # MLflow's default also allows 10.example.com
    command = ("mlflow", "server", "--host", host, "--port", str(port), "--workers", "1", "--allowed-hosts", hosts)
    store = ("--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "mlartifacts")
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # saves eight processes
    return Page("MLflow", url, f"{url}/health", (sys.executable, "-m", *command, *store), settings)


def prefect_page(host: str, port: int) -> Page:
    """Return Prefect's server."""
    url = f"http://{bracket(host)}:{port}"
    command = ("flows.server", "--host", host, "--port", str(port))
    return Page("Prefect", url, f"{url}/api/health", (sys.executable, "-m", *command), {})


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; return 1 after one line if a port is taken or a server fails."""
    parser = Parser(prog="python -m flows.ui", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address as browsers name it; the pages have no password")
    parser.add_argument("--mlflow-port", type=PORT, default=5000)
    parser.add_argument("--prefect-port", type=PORT, default=4200)
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # shells start background jobs with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    remote = os.environ.get("MLFLOW_TRACKING_URI", "")
    pages = [prefect_page(options.host, options.prefect_port)]
    if not remote.startswith("http"):
        pages.insert(0, mlflow_page(options.host, options.mlflow_port))
    try:
        with serve(pages) as servers:
            _print_pages(pages)
            while all(server.poll() is None for server in servers):
                time.sleep(0.5)
            dead = next(page for page, server in zip(pages, servers, strict=True) if server.poll() is not None)
            raise OpenMedQError(f"{dead.title}: the server ended; start it again")
    except KeyboardInterrupt:
        print("stopped")
        return 0
    except OpenMedQError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def serve(pages: Sequence[Page]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the servers, wait until they are healthy, and stop them and their child processes at the end."""
    for page in pages:
        address = urlsplit(page.url)
        check_free(address.hostname or "", address.port or 0, f"--{page.title.lower()}-port")
    servers: list[subprocess.Popen[bytes]] = []
    try:
        for page in pages:
            environment = os.environ | TELEMETRY_OFF | page.environment
            servers.append(
                subprocess.Popen(
                    page.command,
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
        for page, server in zip(pages, servers, strict=True):
            _await_health(page, server)
        yield servers
    finally:
        _stop(servers)


def _print_pages(pages: Sequence[Page]) -> None:
    for page in pages:
        print(f"{page.title:12}{page.url}")
    for title, folder in (("Report", paths.REPORT), ("Validation", paths.DATA_DOCS)):
        path = folder / "index.html"
        print(f"{title:12}{path if path.is_file() else 'missing; run `dvc repro`'}")
    prefect = next(page for page in pages if page.title == "Prefect")
    print(f"Set PREFECT_API_URL={prefect.url}/api to see flows here. Ctrl-C stops the servers.", flush=True)


def _await_health(page: Page, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(page.health, timeout=5):
            return
        time.sleep(0.3)
    problem = "ended while it started" if server.poll() is not None else f"not up after {START_SECONDS:.0f} s"
    raise OpenMedQError(f"{page.title}: {problem}; run `{' '.join(('python', *page.command[1:]))}` to see why")


def _stop(servers: Sequence[subprocess.Popen[bytes]]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for server in servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, number)  # with their workers
        deadline = time.monotonic() + STOP_SECONDS
        for server in servers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(timeout=max(0.1, deadline - time.monotonic()))


if __name__ == "__main__":
    sys.exit(main())
