"""The windows: MLflow and Prefect in the browser, on loopback, until Ctrl-C. `python -m flows.ui`, or `make ui`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flows.server import own_hosts
from openmedq import TELEMETRY_OFF, paths
from openmedq.errors import OpenMedQError

START_SECONDS = 120.0
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class Page:
    """One server: what starts it, what it needs in the environment, and how one knows that it is up."""

    title: str
    url: str
    health: str
    command: tuple[str, ...]
    environment: dict[str, str]


def mlflow_page(host: str, port: int) -> Page:
    """MLflow over the project's own store."""
    url = f"http://{host}:{port}"
    hosts = ",".join(own_hosts(host, port))  # its default is any name that starts as a private address: 10.example.com
    command = ("mlflow", "server", "--host", host, "--port", str(port), "--workers", "1", "--allowed-hosts", hosts)
    store = ("--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "mlartifacts")
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # eight more processes, for judges that we don't use
    return Page("MLflow", url, f"{url}/health", (sys.executable, "-m", *command, *store), settings)


def prefect_page(host: str, port: int) -> Page:
    """Prefect with the runs of this machine's flows."""
    url = f"http://{host}:{port}"
    command = ("flows.server", "--host", host, "--port", str(port))
    return Page("Prefect", url, f"{url}/api/health", (sys.executable, "-m", *command), {})


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; 1 and one line where a port is taken or a server does not come up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="loopback unless given, else the address as browsers name it; no password is asked for",
    )
    parser.add_argument("--mlflow-port", type=int, default=5000)
    parser.add_argument("--prefect-port", type=int, default=4200)
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    remote = os.environ.get("MLFLOW_TRACKING_URI", "")
    pages = [prefect_page(options.host, options.prefect_port)]
    if not remote.startswith("http"):
        pages.insert(0, mlflow_page(options.host, options.mlflow_port))
    try:
        with serve(pages) as servers:
            _print_windows(pages)
            while all(server.poll() is None for server in servers):
                time.sleep(0.5)
            dead = next(page for page, server in zip(pages, servers, strict=True) if server.poll() is not None)
            raise OpenMedQError(f"{dead.title}: the server ended; start again, or see its port")
    except KeyboardInterrupt:
        print("stopped")
        return 0
    except OpenMedQError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def serve(pages: Sequence[Page]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the servers, wait until they are healthy, and stop them with all that they started."""
    for page in pages:
        _require_free(page)
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


def _print_windows(pages: Sequence[Page]) -> None:
    for page in pages:
        print(f"{page.title:12}{page.url}")
    for title, folder in (("Report", paths.REPORT), ("Data Docs", paths.DATA_DOCS)):
        path = folder / "index.html"
        print(f"{title:12}{path if path.is_file() else 'not there yet: run `dvc repro`'}")
    prefect = next(page for page in pages if page.title == "Prefect")
    print(f"Flows show up live with PREFECT_API_URL={prefect.url}/api. Ctrl-C stops the pages.", flush=True)


def _require_free(page: Page) -> None:
    host, port = page.url.removeprefix("http://").rsplit(":", 1)
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as the servers do: a port left a moment ago is free
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            option = f"--{page.title.lower()}-port"
            raise OpenMedQError(
                f"{page.title}: {host}:{port}: {error.strerror}; choose another with {option}"
            ) from None


def _await_health(page: Page, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(page.health, timeout=5):
            return
        time.sleep(0.3)
    said = "ended while it started" if server.poll() is not None else f"not up after {START_SECONDS:.0f} s"
    raise OpenMedQError(f"{page.title}: {said}; run `{' '.join(('python', *page.command[1:]))}` to see why")


def _stop(servers: Sequence[subprocess.Popen[bytes]]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for server in servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, number)  # their workers as well
        deadline = time.monotonic() + STOP_SECONDS
        for server in servers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(timeout=max(0.1, deadline - time.monotonic()))


if __name__ == "__main__":
    sys.exit(main())
