"""Prefect's server, closed to web pages of other sites: `python -m flows.server`.

Whoever reaches Prefect's API can run commands on a worker's machine, and a browser on this machine sends requests to
loopback for any page that it shows. Two checks refuse them:

- Host and Origin are those of this server: `OwnPagesOnly`, before Prefect sees the request. A page of another site
  sends its own Origin with every POST and websocket, and its own Host where its name was rebound to this address.
- A POST has a CSRF token, which no page of another site can read (`flows/__init__.py` switches this on).
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import sys

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

REFUSAL = "Host or Origin is not this server's; name it with `python -m flows.server --allowed-hosts`\n"


def own_hosts(host: str, port: int) -> list[str]:
    """What a browser sends as Host for an address that is served: its own name, and those of loopback."""
    names = (f"[{host}]" if ":" in host else host, "127.0.0.1", "localhost", "[::1]")
    return [f"{name}:{port}" for name in dict.fromkeys(names)]


class OwnPagesOnly:
    """ASGI middleware: 403 unless Host is one of `hosts`, and Origin, where there is one, is a page of them."""

    def __init__(self, app: ASGIApp, hosts: list[str]) -> None:
        """Hosts as in the header: with the port, unless it is 80."""
        self._app = app
        self._hosts = {_normalize(host) for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is allowed; a websocket is refused before it is opened."""
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
    """Serve until interrupted; 1 and one line where the address can't be listened on."""
    parser = argparse.ArgumentParser(prog="python -m flows.server", description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; loopback unless given")
    parser.add_argument("--port", type=int, default=4200)
    parser.add_argument(
        "--allowed-hosts", default="", help="other names of this server, with ports, separated by commas: prefect:4200"
    )
    options = parser.parse_args()
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        socket.create_server((options.host, options.port), family=family).close()
    except OSError as error:  # where uvicorn finds it, Prefect's services end in a stack trace
        print(f"error: {error.strerror}; choose another --host or --port", file=sys.stderr)
        return 1
    os.environ["PREFECT_UI_API_URL"] = "/api"  # relative: the pages ask the address that they came from

    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    hosts = own_hosts(options.host, options.port) + [host for host in options.allowed_hosts.split(",") if host]
    level = get_current_settings().server.logging_level.lower()
    # As `prefect server start` does it: the app's lifespan starts the scheduler and the other services.
    uvicorn.run(OwnPagesOnly(create_app(final=True), hosts), host=options.host, port=options.port, log_level=level)
    return 0


if __name__ == "__main__":
    sys.exit(main())
