"""Prefect's server, protected against web pages of other sites: `python -m flows.server`.

A client of Prefect's API can run commands on a worker's machine, and any web page in a local browser can send requests
to loopback. Two checks reject them:

- `OwnPagesOnly`: Host and Origin must be those of this server. A page of another site sends its own Origin with every
  POST and websocket, and its own Host after DNS rebinding.
- CSRF protection: a POST needs a token that pages of other sites can't read (enabled in `flows/__init__.py`).
"""

import os
import re
import sys

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from openmedq.cli import PORT, Parser
from openmedq.demo import check_free
from openmedq.errors import OpenMedQError

REFUSAL = "Host or Origin is not this server's; add it with `python -m flows.server --allowed-hosts`\n"


def bracket(host: str) -> str:
    """Return a host as in URLs, where IPv6 addresses have brackets."""
    return f"[{host}]" if ":" in host else host


def own_hosts(host: str, port: int) -> list[str]:
    """Return the Host headers of a server: its own name and those of loopback."""
    names = (bracket(host), "127.0.0.1", "localhost", "[::1]")
    return [f"{name}:{port}" for name in dict.fromkeys(names)]


class OwnPagesOnly:
    """ASGI middleware: 403 unless Host and (if present) Origin are among `hosts`."""

    def __init__(self, app: ASGIApp, hosts: list[str]) -> None:
        """`hosts`: as in the header, with the port unless it is 80."""
        self._app = app
        self._hosts = {_normalize(host) for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on allowed requests; a websocket is rejected before it is opened."""
        is_allowed = scope["type"] == "lifespan" or self._allows(scope["headers"])
        await (self._app if is_allowed else PlainTextResponse(REFUSAL, 403))(scope, receive, send)

    def _allows(self, headers: list[tuple[bytes, bytes]]) -> bool:
        values = [(name, value.decode("latin-1")) for name, value in headers]
        hosts = [value for name, value in values if name == b"host"]
        origins = [re.sub("^https?://", "", value) for name, value in values if name == b"origin"]  # `null` has no host
        return len(hosts) == 1 and all(_normalize(host) in self._hosts for host in hosts + origins)


def _normalize(host: str) -> str:
    return host.strip().lower().removesuffix(":80")


def main() -> int:
    """Serve until interrupted; return 1 after one line if the address is not available."""
    parser = Parser(prog="python -m flows.server", description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=PORT, default=4200)
    parser.add_argument(
        "--allowed-hosts", default="", help="other names of this server with ports, comma-separated: prefect:4200"
    )
    options = parser.parse_args()
    try:
        check_free(options.host, options.port)
    except OpenMedQError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    os.environ["PREFECT_UI_API_URL"] = "/api"  # relative to the address of the page

    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    hosts = own_hosts(options.host, options.port) + [host for host in options.allowed_hosts.split(",") if host]
    level = get_current_settings().server.logging_level.lower()
    # As in `prefect server start`, the app's lifespan starts the scheduler and the other services.
    uvicorn.run(OwnPagesOnly(create_app(final=True), hosts), host=options.host, port=options.port, log_level=level)
    return 0


if __name__ == "__main__":
    sys.exit(main())
