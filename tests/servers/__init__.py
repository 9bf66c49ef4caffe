"""The official hosts on loopback, and what goes wrong with them.

    with serve(publish(card, raw), [faults.cut(at=1000).on("zenodo.org/*", times=1)]) as server:
        server.endpoints    # host name -> base URL, for execution.endpoints
        server.hub          # for HF_ENDPOINT
        server.requests     # what was asked, in order of arrival

Every host stands below a path of its name, so that one server plays all of them; what a host redirects to lies on
another port and another name, as another host.
"""

from tests.servers import faults
from tests.servers.hosts import Server, serve
from tests.servers.official import publish

__all__ = ["Server", "faults", "publish", "serve"]
