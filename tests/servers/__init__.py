"""The official hosts on loopback, and their faults.

    with serve(publish(card, raw), [faults.cut(at=1000).on("zenodo.org/*", times=1)]) as server:
        server.endpoints    # host name -> base URL, for execution.endpoints
            server.requests     # in order of arrival

Every host is a path with its name on one server; the hosts that it redirects to are on another port and another name.
"""

from tests.servers import faults
from tests.servers.hosts import Server, serve
from tests.servers.official import publish

__all__ = ["Server", "faults", "publish", "serve"]
