"""Prefect's server, closed to web pages of other sites: `python -m flows.server`.

Whoever reaches Prefect's API can run commands on a worker's machine, and a browser on this machine sends requests to
loopback for any page that it shows. Two checks refuse them:

- Host and Origin are those of this server: `OwnPagesOnly`, before Prefect sees the request. A page of another site
  sends its own Origin with every POST and websocket, and its own Host where its name was rebound to this address.
- CSRF tokens (see `flows/__init__.py`), for a request without an Origin.
"""

from __future__ import annotations

import argparse
import os
import sys

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

REFUSAL = "Host or Origin is not this server's; name it with `python -m flows.server --allowed-hosts`\n"


def own_hosts(host: str, port: int) -> list[str]:
    """What a browser sends as Host for an address that is served: its own name, and those of loopback."""
    names = (f"[{host}]" if ":" in host else host, "127.0.0.1", "localhost", "[::1]")
    return [f"{name}:{port}" for name in dict.fromkeys(names)]


class OwnPagesOnly:
    """ASGI middleware: 403 where Host is not in `hosts`, or an Origin is there that is not http(s) at one of them."""

    def __init__(self, app: ASGIApp, hosts: list[str]) -> None:
        """Hosts as in the header: with the port, unless it is 80."""
        self._app = app
        self._hosts = {_normalize(host) for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is allowed; a websocket is refused before it is opened."""
        is_allowed = scope["type"] == "lifespan" or self._allows(scope["headers"])
        await (self._app if is_allowed else PlainTextResponse(REFUSAL, 403))(scope, receive, send)

    def _allows(self, headers: list[tuple[bytes, bytes]]) -> bool:
        values = {
            name: [value.decode("latin-1") for key, value in headers if key == name] for name in (b"host", b"origin")
        }
        origins = [origin.partition("://") for origin in values[b"origin"]]  # `null` has no host
        return (
            len(values[b"host"]) == 1
            and _normalize(values[b"host"][0]) in self._hosts
            and all(scheme in ("http", "https") and _normalize(host) in self._hosts for scheme, _, host in origins)
        )


def _normalize(host: str) -> str:
    return host.lower().removesuffix(":80")


def main() -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m flows.server", description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; loopback unless given")
    parser.add_argument("--port", type=int, default=4200)
    parser.add_argument(
        "--allowed-hosts", default="", help="other names of this server, with ports, separated by commas: prefect:4200"
    )
    options = parser.parse_args()
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
